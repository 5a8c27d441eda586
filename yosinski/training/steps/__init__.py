"""A step of a member: its gradients, and how the optimiser uses them."""
