"""What is timed, and against what: ``python -m benchmarks.NAME``. Results of real runs are kept in ``results/``."""
