"""What a method needs to match another network: crossings, ratios and bounds that can be checked by head.

Widths 0.25, 0.5 and 1 have 250, 500 and 1000 parameters, of which masked networks keep half.
"""

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import tables as tables_command
from analysis.reports import tables
from suite import cli
from suite.config import InputError, Trial

WIDTHS = [0.25, 0.5, 1.0]
THREE = """\
name: three
base: {dataset: digits, epochs: 1, global_batch_size: 64}
grid:
  model: {name: conv2, width_mult: [0.25, 0.5, 1]}
  seed: [1, 2, 3]
  method:
    - {name: weights, lr: 0.1}
    - {name: edge_popup, lr: 0.1, sparsity: 0.5}
    - {name: iterand, lr: 0.1, sparsity: 0.5}
"""
DENSE = [0.80, 0.85, 0.90]
HALF_WAY = [0.84, 0.88, 0.92]  # 0.9 is half way, in logarithms, from 500 to 1000; all three are straight lines
SOONER = [0.87, 0.93, 0.99]  # and here from 250 to 500
Change = Callable[[Trial], dict[str, Any] | None]


def curves(spread: float = 0.0, seeds: int = 3, **by_method: list[float]) -> Change:
    """The accuracy of each method at each width; seeds 1 to 3 lie ``spread`` apart."""

    def change(trial: Trial) -> dict[str, Any] | None:
        means = {"weights": DENSE, "edge_popup": HALF_WAY, "iterand": SOONER, **by_method}[trial.method.name]
        top1 = means[WIDTHS.index(trial.model.width_mult)] + spread * (trial.seed - 2)
        return {"metrics": {"test/top1": top1}} if trial.seed <= seeds else None

    return change


@pytest.fixture
def needed(sweep: Any, fill: Any) -> Callable[..., tuple[dict[Any, dict[str, Any]], dict[Any, list[str]]]]:
    """The table by quantity and method: as numbers, and as it is shown."""

    def needed(change: Change, *replaced: tuple[str, str], target: str | None = None) -> Any:
        planned = sweep(*replaced, text=THREE)
        text, files = tables.make(planned, fill(planned, change), [target] if target else [])
        table = pd.read_csv(next(file for file in files if file.name == "needed.csv"))
        table = table.astype(object).where(table.notna(), None)
        block = text.partition("### Needed for")[2].split("\n\n")[1]
        rows = [[each.strip() for each in line.strip("|").split("|")] for line in block.splitlines()[2:]]
        numbers = {(row["quantity"], row["method"]): row for row in table.to_dict("records")}
        return numbers, {(row[0], row[1]): row[3:] for row in rows}

    return needed


def test_a_crossing_and_its_ratios(needed: Any) -> None:
    """Dense at width 1 has 0.9 with 1000 parameters; that cost is known, so ratios to it are exact divisions."""
    numbers, shown = needed(curves())
    popup, iterand = numbers["parameters", "edge_popup"], numbers["parameters", "iterand"]
    assert popup["target"] == "weights at width 1"
    assert popup["cost"] == pytest.approx(sqrt(500 * 1000))
    assert popup["over_weights_value"] == popup["cost"] / 1000
    assert iterand["cost"] == pytest.approx(sqrt(250 * 500))
    assert iterand["over_weights_value"] == iterand["cost"] / 1000
    assert iterand["over_edge_popup_value"] == pytest.approx(0.5)
    assert popup.get("over_edge_popup_value") is None
    assert ("parameters", "weights") not in numbers  # it is the target
    # equal seeds do not say how far they scatter: no interval
    assert shown["parameters", "edge_popup"] == ["707", "0.71", ""]
    assert shown["parameters", "iterand"] == ["354", "0.35", "0.50"]


def test_the_quantities_are_not_mixed(needed: Any) -> None:
    def change(trial: Trial) -> dict[str, Any]:
        size = int((100 if trial.method.name == "weights" else 7) * 1000 * trial.model.width_mult)
        form = {"form": "fp32", "bytes": size, "parts": {}, "metrics": {"test/top1": 0.9}}
        state = {"state_bytes_per_weight": 8.0 if trial.method.name == "weights" else 12.0}
        return {**(curves()(trial) or {}), **state, "stored": [form]}

    numbers, _ = needed(change)
    found = {key[0]: (row["cost"], row["over_weights_value"]) for key, row in numbers.items() if key[1] == "edge_popup"}
    total = sqrt(500 * 1000)
    assert found == {
        "parameters": pytest.approx((total, total / 1000)),
        "parameters kept": pytest.approx((total / 2, total / 2 / 1000)),
        "training state, bytes": pytest.approx((12 * total, 12 * total / 8000)),
        "stored network, bytes": pytest.approx((7 * total, 7 * total / 100_000)),
    }


def test_without_stored_networks_nothing_is_said_of_their_bytes(needed: Any) -> None:
    numbers, _ = needed(curves())
    assert {quantity for quantity, _ in numbers} == {"parameters", "parameters kept", "training state, bytes"}


def test_an_interval_holds_the_crossing(needed: Any) -> None:
    numbers, _ = needed(curves(spread=0.001))
    row = numbers["parameters", "edge_popup"]
    assert row["cost"] == pytest.approx(sqrt(500 * 1000))
    assert 600 < row["low"] < 690 < 725 < row["high"] < 830
    assert row["over_weights_low"] == row["low"] / 1000 and row["over_weights_high"] == row["high"] / 1000


def test_one_seed_has_no_interval(needed: Any) -> None:
    numbers, shown = needed(curves(seeds=1))
    assert numbers["parameters", "edge_popup"]["low"] is None
    assert shown["parameters", "edge_popup"] == ["707", "0.71", ""]


WORSE, BETTER = [0.5, 0.6, 0.7], [0.95, 0.96, 0.97]


def test_bounds_are_told_as_bounds(needed: Any) -> None:
    _, shown = needed(curves(spread=0.001, edge_popup=WORSE, iterand=BETTER))
    assert shown["parameters", "edge_popup"] == ["> 1000 (1000 to ?)", "> 1.00 (1.00 to ?)", ""]
    assert shown["parameters", "iterand"] == ["< 250 (? to 250)", "< 0.25 (? to 0.25)", "< 0.25 (? to 0.25)"]


def test_a_bound_does_not_hide_a_number_that_is_known(needed: Any) -> None:
    """The means reach 0.9 just below the widest, many draws do not: both are told, and why an end is missing."""
    numbers, shown = needed(curves(spread=0.01, edge_popup=[0.80, 0.86, 0.901]), target="0.9")
    row = numbers["parameters", "edge_popup"]
    assert 500 < row["low"] < row["cost"] < 1000 and row["high"] is None and row["above"] > 0.05
    assert shown["parameters", "edge_popup"][0] == f"{row['cost']:.0f} ({row['low']:.0f} to ?)"


def test_an_unknown_end_is_explained_where_it_stands(sweep: Any, fill: Any) -> None:
    planned = sweep(text=THREE)
    text, _ = tables.make(planned, fill(planned, curves(spread=0.001, edge_popup=WORSE, iterand=BETTER)))
    lines = [line for line in text.splitlines() if line.startswith("- `?`, ")]
    target = "for weights at width 1"
    assert lines[0].startswith(
        f"- `?`, edge_popup {target}: 100% of draws do not reach the target at the widest network"
    )
    assert lines[1].startswith(f"- `?`, iterand {target}: 100% of draws are above the target at the narrowest network")
    assert [line.partition(":")[0] for line in lines[2:]] == [
        f"- `?`, {names} {target}" for names in ("edge_popup / weights", "iterand / weights", "iterand / edge_popup")
    ]


def test_several_targets_stand_beside_one_another(sweep: Any, fill: Any) -> None:
    planned = sweep(text=THREE)
    _, files = tables.make(planned, fill(planned, curves()), ["weights:1", "edge_popup:0.5", "0.89"])
    table = pd.read_csv(files[0].parent / "needed.csv")
    own = table[(table["quantity"] == "parameters") & (table["method"] == "iterand")]
    assert own["target"].tolist() == ["weights at width 1", "edge_popup at width 0.5", "89 %"]
    assert own["over_edge_popup_value"].tolist() == pytest.approx([0.5, 2 ** (1 / 6) / 2, 2 ** (1 / 3 - 1.25)])
    assert "quantity & target & method" in (files[0].parent / "needed.tex").read_text()


def test_a_ratio_is_a_curve_over_the_accuracies_that_both_reach(sweep: Any, fill: Any) -> None:
    """IteRand's line leaves 0.87 at 250, edge-popup's ends with 0.92 at 1000."""
    planned = sweep(text=THREE)
    text, files = tables.make(planned, fill(planned, curves(spread=0.001)))
    table = pd.read_csv(files[0].parent / "ratios.csv")
    own = table[(table["ratio"] == "iterand / edge_popup") & (table["quantity"] == "parameters")]
    accuracies = own["accuracy"].to_numpy()
    assert (len(accuracies), accuracies[0], accuracies[-1]) == (
        11,
        pytest.approx(0.87417, abs=1e-5),
        pytest.approx(0.91583, abs=1e-5),
    )
    assert own["value"].to_numpy() == pytest.approx(2 ** ((accuracies - 0.87) / 0.06 - (accuracies - 0.84) / 0.04))
    inner = own[own["low"].notna() & own["high"].notna()]
    assert len(inner) > 5 and (inner["low"] < inner["value"]).all() and (inner["value"] < inner["high"]).all()
    assert "### Ratios for equal accuracy" in text and "| 87.00 % | 92.00 % |" in text
    assert not set(table["ratio"]) & {"weights / edge_popup", "edge_popup / iterand"}


def test_bounds_of_one_seed(needed: Any) -> None:
    _, shown = needed(curves(seeds=1, edge_popup=WORSE, iterand=BETTER))
    assert shown["parameters", "edge_popup"] == ["> 1000", "> 1.00", ""]
    assert shown["parameters", "iterand"] == ["< 250", "< 0.25", "< 0.25"]


def test_means_that_reach_the_target_are_never_told_as_not_reached(needed: Any) -> None:
    """Flat and noisy: many draws reach 0.9 at once, many nowhere; the means do, between 500 and 1000."""
    _, shown = needed(curves(spread=0.05, edge_popup=[0.8997, 0.8999, 0.9001]), target="0.9")
    assert shown["parameters", "edge_popup"][0] == "707 (? to ?)"


@pytest.mark.parametrize("target", ["0.9", "weights:1", "weights:1.0", None])
def test_one_target_said_in_several_ways(needed: Any, target: str | None) -> None:
    numbers, _ = needed(curves(), target=target)
    assert numbers["parameters", "edge_popup"]["cost"] == pytest.approx(sqrt(500 * 1000))
    assert (("parameters", "weights") in numbers) == (target == "0.9")


def test_another_cell_as_the_target(needed: Any) -> None:
    """Edge-popup at width 0.5 has 0.88: dense needs sqrt(2)^1.2 times 500, IteRand a sixth of the way from 250."""
    numbers, _ = needed(curves(), target="edge_popup:0.5")
    assert numbers["parameters", "weights"]["cost"] == pytest.approx(500 * 2**0.6)
    assert numbers["parameters", "iterand"]["cost"] == pytest.approx(250 * 2 ** (1 / 6))
    assert numbers["parameters", "iterand"]["over_edge_popup_value"] == pytest.approx(2 ** (1 / 6) / 2)
    assert numbers["parameters", "iterand"]["over_weights_value"] == pytest.approx(2 ** (1 / 6 - 1.6))


@pytest.mark.parametrize("target", ["90", "-0.1", "nan", "", "weights:3", "dense:1", "weights", "edge_popup:wide"])
def test_an_unknown_target_names_the_choices(sweep: Any, fill: Any, target: str) -> None:
    planned = sweep(text=THREE)
    with pytest.raises(InputError) as caught:
        tables.make(planned, fill(planned, curves()), [target])
    line = str(caught.value)
    assert line.startswith(f"--target: {target}: must be a share in [0, 1], or a cell that has results: ")
    assert "edge_popup:0.25, " in line and "weights:1" in line


def test_the_command_takes_a_target(sweep: Any, fill: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = fill(planned := sweep(text=THREE), curves())
    command = [str(planned.path), "--results", str(ledger.root), "--target"]
    assert tables_command.main([*command, "0.88"]) == 0
    assert "### Needed for the accuracy of 88 %" in capsys.readouterr().out
    assert cli.run(lambda: tables_command.main([*command, "nobody:1"])) == 2
    assert capsys.readouterr().err.startswith("--target: nobody:1: ")


def test_no_dense_network_of_width_1_and_no_table(sweep: Any, fill: Any) -> None:
    planned = sweep(("[0.25, 0.5, 1]", "[0.25, 0.5]"), text=THREE)
    text, files = tables.make(planned, fill(planned, curves()))
    assert "Needed" not in text and "needed.csv" not in {file.name for file in files}


def test_widths_that_cost_the_same_are_one_point(needed: Any) -> None:
    """At 250 parameters are 0.84 and 0.88, so 0.86; from there 0.9 is 2/3 of the way to 1000."""

    def change(trial: Trial) -> dict[str, Any]:
        total = 1000 if trial.model.width_mult == 1 else 250
        return {**(curves()(trial) or {}), "params_total": total}

    numbers, _ = needed(change)
    assert numbers["parameters", "edge_popup"]["cost"] == pytest.approx(250 * 4 ** (2 / 3))


def test_a_network_that_costs_nothing_is_left_out(needed: Any) -> None:
    def change(trial: Trial) -> dict[str, Any]:
        none = {"params_kept": 0} if trial.model.width_mult == 0.25 else {}
        return {**(curves()(trial) or {}), **none}

    numbers, _ = needed(change)
    assert numbers["parameters kept", "edge_popup"]["cost"] == pytest.approx(sqrt(250 * 500))
    assert numbers["parameters", "edge_popup"]["cost"] == pytest.approx(sqrt(500 * 1000))


def test_ratios_are_over_the_same_further_settings_or_none(needed: Any) -> None:
    popup = "name: edge_popup, lr: 0.1, sparsity: 0.5"
    numbers, _ = needed(curves(), (popup, popup.replace("0.5", "[0.3, 0.6]")))
    row = numbers["parameters", "iterand"]  # which of the two it would be over, nobody said
    assert row.get("over_edge_popup_value") is None and row["over_weights_value"] is not None
    numbers, _ = needed(curves(), ("sparsity: 0.5", "sparsity: [0.3, 0.6]"))
    assert numbers["parameters", "iterand sparsity=0.6"]["over_edge_popup_value"] == pytest.approx(0.5)


def test_a_table_of_one_network_of_two_names_it(sweep: Any, fill: Any) -> None:
    planned = sweep(("name: conv2", "name: [conv2, conv4]"), text=THREE)
    dense4 = lambda t: t.model.name == "conv4" and t.method.name == "weights"  # noqa: E731
    _, files = tables.make(planned, fill(planned, lambda t: None if dense4(t) else curves()(t)))
    assert "& conv2 &" not in (latex := Path(files[0].parent / "needed.tex").read_text())
    assert latex.splitlines()[2].startswith("model & quantity") and "conv2 & parameters" in latex


def test_a_single_width_has_nothing_to_match_with(sweep: Any, fill: Any) -> None:
    planned = sweep(("[0.5, 0.25]", "0.5"))
    with pytest.raises(InputError, match=r"--target: 0\.9: nothing to match it with"):
        tables.build_tables(planned, fill(planned), ["0.9"])
