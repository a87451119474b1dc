"""A run sheet for a GPU, as ``docs/how-to/gpu.md`` says: ``python -m benchmarks.gpu --parts smoke|all|1,2,...``."""
