"""Networks with several tasks or inputs in training: their batches, their gradients, and what inputs are worth."""
