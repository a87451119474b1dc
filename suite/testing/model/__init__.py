"""The contract of a network, as tests."""
