"""The contract of a method, as tests."""
