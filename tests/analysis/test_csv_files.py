"""The CSV files of all tables: numbers that a program reads, of how many trials, and of which seeds."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.reports import tables
from suite.config import Trial
from suite.records import LayerMask

EVERYTHING = """\
name: everything
base: {dataset: cifar10, global_batch_size: 64}
grid:
  epochs: [1, 2]
  model: {name: conv6, width_mult: [0.5, 1.0]}
  seed: [1, 2, 3]
  method:
    - {name: weights, lr: 0.1}
    - {name: edge_popup, lr: 0.1, sparsity: [0.3, 0.6]}
"""
TEXT = {
    "layer",
    "dataset",
    "model",
    "method",
    "minus",
    "difference",
    "epochs",
    "form",
    "quantity",
    "device",
    "target",
    "ratio",
}
TEXT |= {"distribution", "metric", "source", "where_found", "confidence"}


def uneven(trial: Trial) -> dict[str, Any] | None:
    """Seed 3 of dense networks was not run; all kept their networks."""
    if trial.method.name == "weights" and trial.seed == 3:
        return None
    width = trial.model.width_mult / 9
    top1 = {"metrics": {"test/top1": 0.6 + trial.seed / 100 + width + getattr(trial.method, "sparsity", 0) / 90}}
    masks = [LayerMask(name=f"{i}.weight", weights=100, kept=50 - i) for i in (0, 3)]
    return {
        **top1,
        "layers": masks,
        "stored": [{"form": "fp32", "bytes": 1000, "parts": {}, "metrics": {"test/top1": 0.8}}],
    }


@pytest.fixture
def written(sweep: Any, fill: Any) -> dict[str, pd.DataFrame]:
    _, files = tables.make(planned := sweep(text=EVERYTHING), fill(planned, uneven))
    found = {path.stem: pd.read_csv(path, dtype=str) for path in files if path.suffix == ".csv"}
    assert found.keys() | {"ratios"} == {"table", *tables.STEMS}  # every kind there is, but for curves
    return found


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_every_number_is_a_number(written: dict[str, pd.DataFrame]) -> None:
    for name, table in written.items():
        for column in table.columns:
            if column not in TEXT and not column.endswith("seeds") and not column.endswith(("at_most", "at_least")):
                wrong = [text for text in table[column].dropna() if not is_number(text)]
                assert not wrong, (name, column)
    exact = written["differences"]["mean"].dropna()
    assert max(map(len, exact)) > len("+0.0000")  # as computed, not as shown


def test_every_row_says_of_how_many_trials_and_of_which_seeds(written: dict[str, pd.DataFrame]) -> None:
    for name, table in written.items():
        counted = [column for column in table.columns if column == "n" or column.endswith("_n")]
        assert counted, name
        for column in counted:
            seeds = table[column.removesuffix("n") + "seeds"].fillna("")
            assert table[column].dropna().size, (name, column)
            for number, told in zip(table[column].fillna("0").astype(float), seeds, strict=True):
                widths = 2 if name in ("needed", "ratios") and column != "target_n" else 1
                assert len(told.split()) * widths == number, (name, column, told)


def test_the_seeds_are_those_of_the_numbers(written: dict[str, pd.DataFrame]) -> None:
    for name in ("table", "sizes", "compute"):
        told = written[name].set_index("method")["seeds"]
        assert {method.split()[0]: seeds for method, seeds in told.items()} == {
            "weights": "1 2",
            "edge_popup": "1 2 3",
        }
    pairs = written["differences"]
    assert set(pairs.loc[pairs["minus"].str.startswith("weights"), "minus_seeds"]) == {"1 2"}
    assert set(pairs.loc[~pairs["method"].str.startswith("weights"), "seeds"]) == {"1 2 3"}
    assert set(written["sparsity"]["seeds"]) == {"1 2 3"}
    assert set(written["needed"]["target_seeds"]) == {"1 2"}
    moved = written["convergence"]
    assert set(moved["moved_seeds"][moved["difference"].str.contains("weights")]) == {"1 2 3; 1 2; 1 2 3; 1 2"}


def test_seeds_that_differ_between_widths_are_told_by_width(sweep: Any, fill: Any) -> None:
    planned = sweep(("epochs: [1, 2]", "epochs: 1"), text=EVERYTHING)
    gone = lambda t: t.seed == 3 and t.model.width_mult == 0.5  # noqa: E731
    _, files = tables.make(planned, fill(planned, lambda t: None if gone(t) else {}))
    needed = pd.read_csv(Path(files[0].parent / "needed.csv"))
    assert set(needed["seeds"]) == {"0.5: 1 2; 1: 1 2 3"} and set(needed["n"]) == {5}
    assert set(needed["target_seeds"]) == {"1 2 3"}
