"""A run sheet for a GPU: ``python -m benchmarks.gpu --parts smoke|all|1,2,...``; ``docs/gpu.md`` says what it runs."""
