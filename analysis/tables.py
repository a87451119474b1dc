"""Tables of a sweep: ``python -m analysis.tables FILE.yaml``, as Markdown, CSV and LaTeX.

Every planned cell is shown; what is missing is named.
"""

import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd

from analysis.rows import Cell, cells, metric_of, mixed
from analysis.stats import paired_difference, t_interval
from analysis.stored import WITHIN, Size, smallest
from suite import cli
from suite.ledger import Ledger
from suite.records import write_whole
from suite.sweepfile import Sweep

MAX_COMPARED = 6  # with more series, all their pairs would bury the table


def make(sweep: Sweep, ledger: Ledger) -> tuple[str, list[Path]]:
    """Write the tables of a sweep; returns their Markdown and the files."""
    found, metric = cells(sweep, ledger), metric_of(sweep)
    accuracy, differences = accuracy_table(found, metric), difference_table(found, metric)
    sizes = size_table(found, metric)
    shown = _shown(accuracy)
    parts = [f"## {sweep.name}: {metric}, %", _markdown(shown)]
    if len(differences):
        parts += ["### Differences, paired by seed, points", _markdown(differences)]
    if len(sizes):
        parts += ["### Bytes of the stored network", _markdown(_shown_sizes(sizes))]
    text = "\n\n".join([*parts, "\n".join(f"- {note}" for note in _notes(found, metric))]) + "\n"
    files = {"table.md": text, "table.csv": accuracy.to_csv(index=False), "table.tex": _latex(shown)}
    if len(differences):
        files |= {"differences.csv": differences.to_csv(index=False), "differences.tex": _latex(differences)}
    if len(sizes):
        files |= {"sizes.csv": sizes.to_csv(index=False), "sizes.tex": _latex(_shown_sizes(sizes))}
    folder = cli.report_folder(sweep, ledger)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (*folder.glob("differences.*"), *folder.glob("sizes.*")):
        stale.unlink()
    for name, content in files.items():
        write_whole(folder / name, content)
    return text, [folder / name for name in files]


def accuracy_table(found: list[Cell], metric: str) -> pd.DataFrame:
    """A row a cell, numbers as they are: ``metric`` with its 95 % interval in [0, 1], parameters in all and kept."""
    rows = []
    for cell in _in_order(found):
        estimate = t_interval(list(cell.values(metric).values()))
        result = next(iter(cell.results.values()), None)
        low, high = estimate.bounds or (None, None)
        rows.append(
            {
                "dataset": cell.dataset,
                "model": cell.model,
                "width": cell.width_mult,
                "method": cell.series,
                "n": estimate.n,
                "planned": len(cell.results.keys() | cell.missing.keys()),
                "mean": estimate.mean if estimate.n else None,
                "low": low,
                "high": high,
                "parameters": result.params_total if result else None,
                "kept": result.params_kept if result else None,
            }
        )
    return pd.DataFrame(rows).astype({"parameters": "Int64", "kept": "Int64"})


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The accuracy table as people read it: percent, and "missing" where there is nothing."""
    shown = pd.DataFrame(
        {
            "dataset": table["dataset"],
            "model": table["model"],
            "width": table["width"].map("{:g}".format),
            "method": table["method"],
            "n": [f"{n} of {planned}" for n, planned in zip(table["n"], table["planned"], strict=True)],
            "mean": ["missing" if pd.isna(mean) else f"{100 * mean:.2f}" for mean in table["mean"]],
            "95 % interval": [
                "" if pd.isna(low) else f"{100 * low:.2f} to {100 * high:.2f}"
                for low, high in zip(table["low"], table["high"], strict=True)
            ],
            "parameters": ["" if pd.isna(count) else str(count) for count in table["parameters"]],
            "kept": ["" if pd.isna(count) else str(count) for count in table["kept"]],
        }
    )
    return _without_constant(shown)


def difference_table(found: list[Cell], metric: str) -> pd.DataFrame:
    """A row a pair of series, a column a width: mean difference in points +- half its 95 % interval.

    Empty where there are more than ``MAX_COMPARED`` series.
    """
    table: dict[str, dict[str, str]] = {}
    if len({cell.series for cell in found}) > MAX_COMPARED:
        return pd.DataFrame()
    for one, other in combinations(found, 2):
        if (one.dataset, one.model, one.width_mult) != (other.dataset, other.model, other.width_mult):
            continue
        estimate = paired_difference(other.values(metric), one.values(metric))
        half = "" if estimate.half_width is None else f" ± {100 * estimate.half_width:.2f}"
        text = f"{100 * estimate.mean:+.2f}{half}" if estimate.n else "missing"
        row = f"{other.series} - {one.series}"
        row += "" if len({(c.dataset, c.model) for c in found}) == 1 else f" ({one.model}, {one.dataset})"
        table.setdefault(row, {"difference": row})[f"width {one.width_mult:g}"] = text
    return pd.DataFrame(list(table.values())).fillna("")


def size_table(found: list[Cell], metric: str) -> pd.DataFrame:
    """A row a cell whose trials kept their networks: bytes in float32, and in the smallest form of that accuracy.

    ``payload`` is what says masks and random weights, or weights; the rest is header, norms and biases. ``ratio`` is
    that of the network trained by weight optimization at the same width, in its own smallest form, both without header.
    ``loss`` is what the form costs, in [-1, 1].
    """
    sizes = [(cell, size) for cell in _in_order(found) if (size := smallest(cell, metric))]
    dense: dict[tuple[str, str, float], float] = {}  # of several series the smallest
    for cell, size in sizes:
        if cell.method == "weights":
            dense[_place(cell)] = min(_net(size), dense.get(_place(cell), _net(size)))
    rows = [
        {
            "dataset": cell.dataset,
            "model": cell.model,
            "width": cell.width_mult,
            "method": cell.series,
            "parameters": next(iter(cell.results.values())).params_total,
            "fp32": size.fp32,
            "form": size.form,
            "stored": size.bytes,
            "payload": sum(size.parts.get(part, 0.0) for part in ("mask", "theta", "weights")),
            "ratio": dense[_place(cell)] / _net(size) if _place(cell) in dense else None,
            "loss": size.loss,
        }
        for cell, size in sizes
    ]
    return pd.DataFrame(rows)


def _place(cell: Cell) -> tuple[str, str, float]:
    return cell.dataset, cell.model, cell.width_mult


def _net(size: Size) -> float:
    """Without the header, which hides the rest where networks are tiny."""
    return size.bytes - size.parts.get("header", 0.0)


def _shown_sizes(table: pd.DataFrame) -> pd.DataFrame:
    whole = "{:.0f}".format
    shown = pd.DataFrame(
        {
            "dataset": table["dataset"],
            "model": table["model"],
            "width": table["width"].map("{:g}".format),
            "method": table["method"],
            "parameters": table["parameters"].map(str),
            "fp32": table["fp32"].map(whole),
            "form": table["form"],
            "change": (0.0 - (100 * table["loss"]).round(2)).map("{:+.2f}".format),
            "stored": table["stored"].map(whole),
            "payload": table["payload"].map(whole),
            "dense / stored": ["" if pd.isna(ratio) else f"{ratio:.2f}" for ratio in table["ratio"]],
        }
    )
    return _without_constant(shown)


def _in_order(found: list[Cell]) -> list[Cell]:
    return sorted(found, key=lambda cell: (cell.dataset, cell.model, cell.width_mult))


def _without_constant(shown: pd.DataFrame) -> pd.DataFrame:
    return shown.drop(columns=[column for column in ("dataset", "model") if shown[column].nunique() == 1])


def _notes(found: list[Cell], metric: str) -> list[str]:
    notes = ["Intervals: Student t over seeds, 95 %; a difference counts where its interval leaves out 0."]
    tested = {c.dataset: r.num_test_images for c in found for r in c.results.values() if r.num_test_images}
    for dataset, images in tested.items():
        notes.append(f"{dataset}: {images} test images, so one image is {100 / images:.2f} points of one trial.")
    if any(result.stored for cell in found for result in cell.results.values()):
        notes += [
            f"Stored: bytes of the smallest form whose accuracy is within {100 * WITHIN:g} points, or one image, of "
            "fp32; change: by how many points it differs; payload: what says masks and weights.",
            "Dense / stored: the network trained by weight optimization at that width, in its smallest form, over this "
            "one, both without headers.",
        ]
    for cell in found:
        for state in sorted(set(cell.missing.values())):
            seeds = sorted(seed for seed, other in cell.missing.items() if other == state)
            notes.append(f"{state}: {cell.name}, seeds {', '.join(map(str, seeds))}.")
    return notes + mixed(found)


def _markdown(table: pd.DataFrame) -> str:
    text_columns = ("method", "difference", "dataset", "model", "form")
    align = ["left" if column in text_columns else "right" for column in table.columns]
    return table.to_markdown(index=False, disable_numparse=True, colalign=align)


def _latex(table: pd.DataFrame) -> str:
    return table.to_latex(index=False, escape=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables of a sweep and write them into its report folder."""
    args = cli.sweep_parser("python -m analysis.tables", "Tables of a sweep from its records.").parse_args(argv)
    text, files = make(*cli.load(args))
    print(text)
    print("written:", *files)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
