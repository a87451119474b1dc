"""Intervals, resampling, matching and permutation tests: numbers in, numbers out."""
