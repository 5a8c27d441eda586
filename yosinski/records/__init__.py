"""A run's directory: specs, attempts, claims and states. Analysis reads nothing else."""
