"""Tasks and fidelities: what is trained, on which images, and how far."""
