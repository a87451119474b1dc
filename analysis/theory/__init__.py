"""The paper's theorem in numbers: its widths and thresholds, a bound proved here, and what experiments need.

``python -m analysis.theory`` writes the table and the figures; ``bounds`` has the formulas, ``experiment`` the search.
"""
