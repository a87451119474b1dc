"""The paper's theorem in numbers: its widths and thresholds, a bound proved here, and what experiments need.

``python -m analysis.theory`` writes the tables and figures. ``bounds`` has the formulas, ``targets`` errors in the
theorem's norm, ``masks`` two ways to mask, ``experiment`` the search for widths, ``theory_tables`` the tables.
"""
