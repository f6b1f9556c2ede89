"""Search spaces: what an architecture is, how it is numbered, and which ones compute the same function."""
