"""What a method needs, in words: a number with its interval, the bound that is known, and why an end is not known."""

from collections.abc import Sequence

Row = dict[str, object]

_NOTES = [
    "Needed: where accuracy, made monotone in the logarithm of what it costs and joined by a smooth curve, meets the "
    "target; intervals: 95 % of draws of all cell means and the target, over seeds alone, on this test set. `> N` and "
    "`< N`: outside the curve, which ends at N; where cells at an end are pooled, at their mean cost. A ratio is "
    "significant if its interval leaves out 1.",
    "Ratios: over the network of that method which has the target, else over the one with the same further settings.",
]
_NO_INTERVAL = "Without an interval: a cell or the target has one seed, or the same accuracy in all of its seeds."


def cost(row: Row) -> str:
    """The cost with its interval: "707 (600 to 830)", "> 1000 (812 to ?)"."""
    sign, number = ("> ", row["widest"]) if row["cost"] is None else ("< " if row["at_most"] else "", row["cost"])
    return f"{sign}{number:.0f}" + _interval(row, "", "{:.0f}")


def ratio(row: Row, method: str) -> str:
    """The ratio over another method with its interval; empty where there is none, "?" where nothing bounds it."""
    at_most, at_least, value = (row.get(f"over_{method}_{key}") for key in ("at_most", "at_least", "value"))
    if at_most is None:
        return ""
    sign = "< " if at_most else "> " if at_least else ""
    return ("?" if value is None else f"{sign}{value:.2f}") + _interval(row, f"over_{method}_", "{:.2f}")


def notes(rows: Sequence[Row]) -> list[str]:
    """The lines under the table; one for each end that is not known, with its reason."""
    reasons = [reason for row in rows for reason in _of_cost(row)]
    reasons += [reason for row in rows for method in ("weights", "edge_popup") for reason in _of_ratio(row, method)]
    alone = [_NO_INTERVAL] * any(row["below"] is None for row in rows)
    return [*_NOTES, *alone, *dict.fromkeys(reasons)]


def _interval(row: Row, prefix: str, style: str) -> str:
    low, high, below = (row[prefix + key] for key in ("low", "high", "below"))
    ends = ("?" if end is None else style.format(end) for end in (low, high))
    return "" if below is None else f" ({' to '.join(ends)})"


def _of_cost(row: Row) -> list[str]:
    name = f"`?`, {row['method']} for {row['target']}: {{share:.0%}} of draws"
    return _open(
        row,
        "",
        f"{name} are above the target at the narrowest network already, so the lower end is below what was tried.",
        f"{name} do not reach the target at the widest network, so the upper end is above what was tried.",
    )


def _of_ratio(row: Row, method: str) -> list[str]:
    if row.get(f"over_{method}_at_most") is None:
        return []
    name = f"`?`, {row['method']} / {method} for {row['target']}: in {{share:.0%}} of draws"
    why = "the first is {}, or the second {}, so the ratio has no {} end"
    low, high = "above the target at its narrowest already", "below it at its widest"
    return _open(
        row,
        f"over_{method}_",
        f"{name} {why.format(low, high, 'lower')}.",
        f"{name} {why.format(high.replace('it', 'the target', 1), low.replace('the target', 'it'), 'upper')}.",
    )


def _open(row: Row, prefix: str, low: str, high: str) -> list[str]:
    """Of the two reasons those that apply."""
    shares = row[prefix + "below"], row[prefix + "above"]
    ends = row[prefix + "low"], row[prefix + "high"]
    told = zip((low, high), ends, shares, strict=True)
    return [text.format(share=share) for text, end, share in told if end is None and share is not None]
