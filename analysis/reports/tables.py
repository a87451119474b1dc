"""Tables of a sweep, as Markdown, CSV and LaTeX.

Every planned cell is shown; what is missing is named.
"""

from collections.abc import Sequence
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
    layers,
    markdown,
    parameter_efficiency,
    published,
    ratio_curves,
    sizes,
    sparsity,
    without_constant,
)
from analysis.parts.captions import interval_notes
from analysis.parts.cells import Cell, cells, in_order, metric_of, mixed_provenance_notes
from analysis.parts.failures import CHANCE, at_chance, with_failures
from analysis.parts.seeds import seed_list
from suite import cli
from suite.config.sweep_file import Sweep
from suite.records import write_text_atomic
from suite.records.ledger import Ledger

STEMS = (
    "differences",
    "sparsity",
    "layers",
    "convergence",
    "needed",
    "ratios",
    "sizes",
    "compute",
    "published",
)  # tables that not every sweep has


def make(sweep: Sweep, ledger: Ledger, targets: Sequence[str] = ()) -> tuple[str, list[Path]]:
    """Write the tables of a sweep; returns their Markdown and the files.

    Args:
        sweep: whose trials.
        ledger: where their records are.
        targets: accuracies to match, each a number in [0, 1], or METHOD:WIDTH, whose mean it is.

    Raises:
        InputError: garbled records, or no such target.
    """
    first, *others = found = build_tables(sweep, ledger, targets)
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


def build_tables(sweep: Sweep, ledger: Ledger, targets: Sequence[str] = ()) -> list[ReportTable]:
    """The tables of a sweep, that of accuracies first."""
    found, metric = cells(sweep, ledger), metric_of(sweep)
    accuracy = accuracy_table(found, metric)
    title = f"{sweep.name}: {metric}, %" + (f" ({_SETTINGS[sweep.settings]})" if sweep.settings else "")
    made: list[ReportTable | None] = [
        ReportTable("table", title, accuracy, _shown(accuracy, found), _notes(found, metric)),
        differences.part(found, metric),
        sparsity.part(found, metric),
        layers.part(found),
        convergence.part(found, metric),
        parameter_efficiency.part(found, metric, targets),
        ratio_curves.part(found, metric),
        sizes.part(found, metric),
        compute.part(found),
        published.part(accuracy, metric),
    ]
    return [part for part in made if part is not None]


_SETTINGS = {"paper": "the paper's settings", "tuned": "tuned settings"}


def accuracy_table(found: list[Cell], metric: str) -> pd.DataFrame:
    """A row a cell, numbers as they are: ``metric`` with its 95 % interval in [0, 1], parameters in all and kept."""
    rows = []
    for cell in with_failures(in_order(found)):
        estimate, new = estimates.of_cell(cell, metric), estimates.of_cell_on_new_images(cell, metric)
        new_low, new_high = (new.bounds if new else None) or (None, None)
        result = next(iter(cell.results.values()), None)
        low, high = estimate.bounds or (None, None)
        rows.append(
            {
                "dataset": cell.dataset,
                "model": cell.model,
                "width": cell.width_mult,
                "method": cell.series,
                "n": estimate.n,
                "planned": cell.num_planned,
                "seeds": seed_list(cell.values(metric)),
                "mean": estimate.mean if estimate.n else None,
                "low": low,
                "high": high,
                "new_images_low": new_low,
                "new_images_high": new_high,
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
            "95 % interval": list(map(format_interval, table["low"], table["high"])),
            "on new images": list(map(format_interval, table["new_images_low"], table["new_images_high"])),
            "parameters": ["" if pd.isna(count) else str(count) for count in table["parameters"]],
            "kept": ["" if pd.isna(count) else str(count) for count in table["kept"]],
        }
    )
    return without_constant(shown if any(shown["on new images"]) else shown.drop(columns="on new images"), found)


def _notes(found: list[Cell], metric: str) -> list[str]:
    notes = interval_notes(found, metric)
    tested = dict.fromkeys((c.dataset, r.num_test_images) for c in found for r in c.results.values())
    for dataset, images in (each for each in tested if each[1]):
        notes.append(f"{dataset}: {images} test images, so one image is {100 / images:.2f} points of one trial.")
    if any(map(at_chance, found)):
        notes.append(CHANCE)
    for cell in found:
        for state in sorted(set(cell.missing.values())):
            seeds = sorted(seed for seed, other in cell.missing.items() if other == state)
            notes.append(f"{state}: {cell.name}, seeds {', '.join(map(str, seeds))}.")
    return notes + mixed_provenance_notes(found)
