"""One search in simulated time: optimizers, their budget, the event clock and the loop."""
