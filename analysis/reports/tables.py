"""Tables of a sweep, as Markdown, CSV and LaTeX.

Every planned cell is shown; what is missing is named.
"""

from pathlib import Path

import pandas as pd

from analysis.parts import (
    ReportTable,
    cell_columns,
    compute,
    convergence,
    differences,
    estimates,
    format_interval,
    format_percent,
    markdown,
    parameter_efficiency,
    published,
    sizes,
    sparsity,
    without_constant,
)
from analysis.parts.cells import Cell, cells, in_order, metric_of, mixed_provenance_notes
from analysis.parts.seeds import seed_list
from suite import cli
from suite.config.sweep_file import Sweep
from suite.records import SMALL_TEST, write_text_atomic
from suite.records.ledger import Ledger

STEMS = (
    "differences",
    "sparsity",
    "convergence",
    "needed",
    "sizes",
    "compute",
    "published",
)  # tables that not every sweep has


def make(sweep: Sweep, ledger: Ledger, target: str | None = None) -> tuple[str, list[Path]]:
    """Write the tables of a sweep; returns their Markdown and the files.

    Args:
        sweep: whose trials.
        ledger: where their records are.
        target: the accuracy to match: a number in [0, 1], or METHOD:WIDTH, whose mean it is.

    Raises:
        InputError: garbled records, or no such target.
    """
    first, *others = found = build_tables(sweep, ledger, target)
    notes = [note for part in found for note in part.notes]
    text = "\n\n".join(
        [
            f"## {first.title}",
            markdown(first.shown),
            *(part.markdown() for part in others),
            "\n".join(f"- {note}" for note in notes) + "\n",
        ]
    )
    files = {"table.md": text} | {name: content for part in found for name, content in part.files().items()}
    folder = cli.report_folder(sweep, ledger)
    folder.mkdir(parents=True, exist_ok=True)
    for name in {f"{stem}.{kind}" for stem in STEMS for kind in ("csv", "tex")} - files.keys():
        (folder / name).unlink(missing_ok=True)  # not the figures, which have the same stems
    for name, content in files.items():
        write_text_atomic(folder / name, content)
    return text, [folder / name for name in files]


def build_tables(sweep: Sweep, ledger: Ledger, target: str | None = None) -> list[ReportTable]:
    """The tables of a sweep, that of accuracies first."""
    found, metric = cells(sweep, ledger), metric_of(sweep)
    accuracy = accuracy_table(found, metric)
    title = f"{sweep.name}: {metric}, %" + (f" ({_SETTINGS[sweep.settings]})" if sweep.settings else "")
    made: list[ReportTable | None] = [
        ReportTable("table", title, accuracy, _shown(accuracy, found), _notes(found, metric)),
        differences.part(found, metric),
        sparsity.part(found, metric),
        convergence.part(found, metric),
        parameter_efficiency.part(found, metric, target),
        sizes.part(found, metric),
        compute.part(found),
        published.part(accuracy, metric),
    ]
    return [part for part in made if part is not None]


_SETTINGS = {"paper": "the paper's settings", "tuned": "tuned settings"}


def accuracy_table(found: list[Cell], metric: str) -> pd.DataFrame:
    """A row a cell, numbers as they are: ``metric`` with its 95 % interval in [0, 1], parameters in all and kept."""
    rows = []
    for cell in in_order(found):
        estimate = estimates.of_cell(cell, metric)
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
                "seeds": seed_list(cell.values(metric)),
                "mean": estimate.mean if estimate.n else None,
                "low": low,
                "high": high,
                "parameters": result.params_total if result else None,
                "kept": result.params_kept if result else None,
            }
        )
    return pd.DataFrame(rows).astype({"parameters": "Int64", "kept": "Int64"})


def _shown(table: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    """The accuracy table as people read it: percent, and "missing" where there is nothing."""
    shown = pd.DataFrame(
        {
            **cell_columns(table),
            "n": [f"{n} of {planned}" for n, planned in zip(table["n"], table["planned"], strict=True)],
            "mean": [format_percent(mean) or "missing" for mean in table["mean"]],
            "95 % interval": [
                format_interval(low, high) for low, high in zip(table["low"], table["high"], strict=True)
            ],
            "parameters": ["" if pd.isna(count) else str(count) for count in table["parameters"]],
            "kept": ["" if pd.isna(count) else str(count) for count in table["kept"]],
        }
    )
    return without_constant(shown, found)


def _notes(found: list[Cell], metric: str) -> list[str]:
    few = any(cell.correct(metric) for cell in found)
    over = f"over seeds and test images, where those are below {SMALL_TEST}" if few else "Student t over seeds"
    notes = [f"Intervals: {over}, 95 %; a difference is significant if its interval does not contain 0."]
    small = {c.name: c for c in found if any(0 < r.num_test_images < SMALL_TEST for r in c.results.values())}
    if few and (silent := [name for name, c in small.items() if c.values(metric) and not c.correct(metric)]):
        notes.append(f"Over seeds alone, as records do not say which images were right: {'; '.join(silent)}.")
    tested = dict.fromkeys((c.dataset, r.num_test_images) for c in found for r in c.results.values())
    for dataset, images in (each for each in tested if each[1]):
        notes.append(f"{dataset}: {images} test images, so one image is {100 / images:.2f} points of one trial.")
    for cell in found:
        for state in sorted(set(cell.missing.values())):
            seeds = sorted(seed for seed, other in cell.missing.items() if other == state)
            notes.append(f"{state}: {cell.name}, seeds {', '.join(map(str, seeds))}.")
    return notes + mixed_provenance_notes(found)
