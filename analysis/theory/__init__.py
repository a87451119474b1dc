"""The paper's theorem in numbers: its widths and thresholds, a bound proved here, and what experiments need.

``python -m analysis.theory`` writes the tables and figures. ``bounds`` has the formulas, ``targets`` errors in the
theorem's norm, ``masks`` two ways to mask, ``subset_sum`` the comparator without redraws, ``exact_probabilities`` what
needs no draws, ``experiment`` the search for widths, ``theory_tables`` and ``weights_table`` the tables.
"""
