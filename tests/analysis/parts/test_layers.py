"""Weights removed by layer: shown where layers differ, as means over seeds."""

from typing import Any

import pandas as pd

from analysis.reports import figures, tables
from suite.config import Trial
from suite.records import LayerMask

GLOBAL = ("sparsity: 0.5", "sparsity: 0.5, scope: global")


def uneven(trial: Trial) -> dict[str, Any]:
    """The first layer loses 20, 30 or 40 % of 100 weights by seed, the second one 75 % of 400."""
    if trial.method.name == "weights":
        return {}
    masks = [LayerMask(name="0.weight", weights=100, kept=90 - 10 * trial.seed)]
    return {"layers": [*masks, LayerMask(name="3.weight", weights=400, kept=100)], "kept_in_addition": 1}


def test_a_row_a_layer_with_the_mean_over_seeds(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(GLOBAL), fill(planned, uneven))
    block = text.partition("### Weights removed by layer, %\n\n")[2].partition("\n\n")[0]
    header, _, *rows = [[each.strip() for each in line.strip("|").split("|")] for line in block.splitlines()]
    assert header == ["width", "method", "layer", "weights", "removed", "over seeds"]
    assert rows[:2] == [
        ["0.25", "edge_popup", "0.weight", "100", "30.00", "20.00 to 40.00"],
        ["0.25", "edge_popup", "3.weight", "400", "75.00", "75.00 to 75.00"],
    ]
    assert "6 weights in all are kept in addition" in text
    table = pd.read_csv(next(file for file in files if file.name == "layers.csv"))
    assert set(table["n"]) == {3} and set(table["seeds"]) == {"1 2 3"}


def test_a_figure_where_layers_differ_and_none_where_they_do_not(sweep: Any, fill: Any) -> None:
    planned = sweep(GLOBAL)
    assert "layers.png" in {file.name for file in figures.make(planned, fill(planned, uneven))}
    ledger = fill(planned)
    assert "layers.png" not in {file.name for file in figures.make(planned, ledger)}
    assert "by layer" not in tables.make(planned, ledger)[0]
