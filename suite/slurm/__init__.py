"""SLURM: what a cluster is asked for, what is asked of its controller, and what is kept about jobs. Loads no torch."""
