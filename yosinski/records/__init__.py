"""A run's directory: specs, attempts, claims, and what became of the run. Analysis reads nothing else."""
