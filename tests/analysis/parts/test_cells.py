"""Rows: which trials make a cell, and which results may not stand in one table."""

from pathlib import Path
from typing import Any

import pytest

from analysis.parts.cells import cells
from analysis.parts.style import curves
from analysis.reports import tables
from suite.config import InputError
from suite.config.sweep_file import Sweep

ONE_METHOD = ("    - {name: edge_popup, lr: 0.1, sparsity: 0.5}\n", "")


def test_a_diverged_trial_has_a_result_but_no_value(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD)
    (cell, _) = cells(planned, fill(planned, lambda t: {"status": "diverged"} if t.seed == 2 else {}))
    assert cell.results.keys() == {1, 2, 3}
    assert cell.missing == {2: "diverged"}
    assert cell.values("test/top1") == pytest.approx({1: 0.81, 3: 0.83})
    assert cell.values("val/top1").keys() == {1, 3}


def test_settings_of_every_kind_make_series(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD, ("seed:", "epochs: [1, 2]\n  schedule: {warmup_epochs: [0, 1]}\n  seed:"))
    found = cells(planned, fill(planned))
    assert {cell.series for cell in found} == {
        f"weights epochs={epochs} warmup_epochs={warmup}" for epochs in (1, 2) for warmup in (0, 1)
    }
    assert all(len(cell.results) == 3 for cell in found)


IMAGENET = ("dataset: digits", "dataset: {name: imagenet}")
ELSEWHERE = {  # settings that cannot change numbers, by the file's text for them
    "resources": ("[1, 2, 3]", "[1, 2, 3]\n  resources: {cpus: 2}"),
    "keep_network": ("[1, 2, 3]", "[1, 2, 3]\n  keep_network: false"),
    "checkpoint": ("[1, 2, 3]", "[1, 2, 3]\n  checkpoint: {every_seconds: 5, on_other_stream: epoch}"),
    "root": (IMAGENET[1], "dataset: {name: imagenet, root: elsewhere, manifest: list.csv}"),
    "loader_threads": (IMAGENET[1], "dataset: {name: imagenet, loader_threads: 3, prefetch: 4, mmap: true}"),
    "decoder": (IMAGENET[1], "dataset: {name: imagenet, decoder: {width_hint: 9, host_padding: 9}}"),
}


@pytest.mark.parametrize("changed", ELSEWHERE)
def test_what_cannot_change_numbers_makes_no_series(sweep: Any, fill: Any, changed: str) -> None:
    """Narrow networks run in one way, wide ones in another, as on a larger machine: one series, whole in all."""
    on = [IMAGENET] if IMAGENET[1] == ELSEWHERE[changed][0] else []
    three = [*on, ("[0.5, 0.25]", "[0.25, 1.0]")]
    narrow = sweep(*three)
    wide = sweep(*three, ("[0.25, 1.0]", "2.0"), ELSEWHERE[changed])
    both = Sweep("both", "both", "", Path(), {**narrow.trials, **wide.trials})
    assert len(both.trials) == 3 * 3 * 2
    text, files = tables.make(both, ledger := fill(both))
    assert {cell.series for cell in cells(both, ledger)} == {"weights", "edge_popup"}
    assert len({curve.name for curve in curves(cells(both, ledger))}) == 2
    latex = (files[0].parent / "differences.tex").read_text().replace("\\_", "_")
    assert [line.count("&") for line in latex.splitlines() if line.startswith("edge_popup - weights")] == [5] * 3
    assert "### Needed for the accuracy of weights at width 1" in text and changed not in text


def test_different_data_are_refused(sweep: Any, fill: Any) -> None:
    ledger = fill(
        planned := sweep(), lambda t: {"data_id": "other"} if t.seed == 2 and t.model.width_mult > 0.3 else {}
    )
    with pytest.raises(InputError, match=r"^digits: results were made from different data: ") as caught:
        tables.make(planned, ledger)
    assert "other (as in trial " in str(caught.value)
    assert "e12a3fbdcab3941f (as in trial " in str(caught.value)
    assert not (ledger.root / "reports").exists()


def test_two_data_sets_are_not_mixed_data(sweep: Any, fill: Any) -> None:
    planned = sweep(ONE_METHOD, ("dataset: digits, ", ""), ("seed:", "dataset: [digits, mnist]\n  seed:"))
    assert [cell.dataset for cell in cells(planned, fill(planned))] == ["digits", "mnist"] * 2


BEGUN_ON_H100 = {"epoch": 0, "step": 0, "host": "h", "devices": ["H100"]}


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"code_id": "code-b"}, "- Results come from more than one code: code, code-b."),
        ({"versions": {"torch": "2.12"}}, "- Results come from more than one torch: 2.11, 2.12."),
        ({"versions": {}}, "- Results come from more than one torch: 2.11, ?."),
        ({"device": "H100"}, "- Results come from more than one device: CPU, H100."),
        ({"attempts": [BEGUN_ON_H100]}, "- Results come from more than one device: CPU, H100."),
        ({"host": "another"}, None),
    ],
)
def test_what_differs_between_results_is_noted(sweep: Any, fill: Any, change: Any, note: str | None) -> None:
    text, _ = tables.make(planned := sweep(), fill(planned, lambda t: change if t.seed == 2 else {}))
    assert [line for line in text.splitlines() if "more than one" in line] == ([note] if note else [])
