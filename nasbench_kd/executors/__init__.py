"""Where many tasks are worked on: in processes here, on a Ray cluster, or in arrays of Slurm jobs."""
