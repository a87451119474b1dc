"""A run sheet for a GPU: ``python -m benchmarks.gpu --parts smoke|all|1,2,...``; ``docs/how-to/gpu.md`` says what it runs."""
