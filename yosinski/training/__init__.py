"""Training of a pack: batches, surgery, the loop, evaluation, checkpoints, stored features."""
