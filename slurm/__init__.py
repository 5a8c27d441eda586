"""All that speaks to a SLURM cluster."""
