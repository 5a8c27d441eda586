"""A pack of runs: batches, surgery, the loop, evaluation, checkpoints, stored features."""
