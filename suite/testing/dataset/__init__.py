"""The contract of a data set, as tests."""
