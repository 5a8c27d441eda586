"""Submission of sweeps to a SLURM cluster."""
