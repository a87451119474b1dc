"""A sweep that varies its data: nothing planned is refused, and what is compared was trained on the same images."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from support.fake_results import data_id_of

from analysis.parts.cells import cells
from analysis.reports import figures, report, tables, tuned
from suite.config import InputError, Trial
from suite.config.method_looks import readable

AXIS = """\
name: parts_of_digits
base: {epochs: 1, global_batch_size: 64}
grid:
  dataset: {name: digits, train_images: [500, 1000]}
  model: {name: conv2, width_mult: [0.5, 1.0]}
  seed: [1, 2]
  method:
    - {name: weights, lr: 0.1}
    - {name: edge_popup, lr: 0.1, sparsity: 0.5}
"""
BLOCKS = """\
name: parts_of_digits
base: {epochs: 1, global_batch_size: 64, model: {name: conv2}}
grid:
  - {dataset: {name: digits, train_images: 500}, seed: [1, 2], method: {name: weights, lr: 0.1}}
  - {dataset: {name: digits, train_images: 1000}, seed: [1, 2], method: {name: edge_popup, lr: 0.1, sparsity: 0.5}}
"""
AUGMENT = AXIS.replace("digits, train_images: [500, 1000]", "cifar10, augment: [protocol, crop]")
SEARCH = AXIS.replace("grid:", "search: grid\ngrid:", 1).replace("lr: 0.1}", "lr: [0.1, 0.2, 0.3]}")
METHODS = ("weights", "edge_popup")


def parts(name: str) -> list[str]:
    return [f"{name} train_images={part}" for part in (500, 1000)]


def table_of(files: list[Path], name: str) -> pd.DataFrame:
    return pd.read_csv(next(path for path in files if path.name == f"{name}.csv"))


@pytest.mark.parametrize("text", [pytest.param(AXIS, marks=pytest.mark.slow), BLOCKS], ids=["axis", "blocks"])
def test_planned_data_are_told_apart_and_never_refused(sweep: Any, fill: Any, text: str) -> None:
    planned = sweep(text=text)
    ledger = fill(planned)
    shown, files = tables.make(planned, ledger)
    named = {*parts("weights"), *parts("edge_popup")} if text == AXIS else {parts("weights")[0], parts("edge_popup")[1]}
    assert set(table_of(files, "table")["method"]) == named
    assert all(name in shown for name in named)
    page = report.page([(planned, ledger)])
    assert all(readable(name) in page for name in named)
    assert page.count("data:image/svg+xml;base64,") == 2 + (text == AXIS)  # accuracy, Pareto fronts; differences


def test_differences_are_between_networks_of_the_same_data(sweep: Any, fill: Any) -> None:
    _, files = tables.make(planned := sweep(text=AXIS), fill(planned))
    rows = (files[0].parent / "differences.tex").read_text()
    pairs = [f"edge_popup train_images={part} - weights train_images={part}" for part in (500, 1000)]
    found = [line.partition(" & ")[0].replace("\\_", "_") for line in rows.splitlines() if "train" in line]
    assert list(dict.fromkeys(found)) == pairs


def test_blocks_of_other_data_have_nothing_to_compare(sweep: Any, fill: Any) -> None:
    text, files = tables.make(planned := sweep(text=BLOCKS), fill(planned))
    assert "Differences" not in text and "Needed" not in text
    assert not {"differences.csv", "needed.csv"} & {path.name for path in files}


def test_what_is_needed_is_over_a_network_of_the_same_data(sweep: Any, fill: Any) -> None:
    """Dense networks of width 1 have 0.7 of 500 images and 0.9 of 1000: each part has a target of its own."""
    top1 = {(500, 0.5): 0.6, (500, 1.0): 0.7, (1000, 0.5): 0.8, (1000, 1.0): 0.9}

    def change(trial: Trial) -> dict[str, Any]:
        return {"metrics": {"test/top1": top1[trial.dataset.train_images, trial.model.width_mult] + trial.seed / 1e6}}

    _, files = tables.make(planned := sweep(text=AXIS), fill(planned, change))
    needed = table_of(files, "needed")
    assert set(zip(needed["method"], needed["target"], strict=True)) == {
        (f"edge_popup train_images={part}", f"weights train_images={part} at width 1") for part in (500, 1000)
    }
    assert needed["cost"][needed["quantity"] == "parameters"].tolist() == pytest.approx([1000, 1000])


def test_gaps_after_more_epochs_are_within_the_same_data(sweep: Any, fill: Any) -> None:
    planned = sweep(("epochs: 1, ", ""), ("  seed:", "  epochs: [1, 2]\n  seed:"), text=AXIS)
    _, files = tables.make(planned, fill(planned))
    assert set(table_of(files, "convergence")["difference"]) == {
        f"edge_popup train_images={part} - weights train_images={part}" for part in (500, 1000)
    }


def test_dense_bytes_are_those_of_the_same_data(sweep: Any, fill: Any) -> None:
    """A dense network takes 100 bytes where 500 images trained it, else 1000; a masked one 10."""

    def change(trial: Trial) -> dict[str, Any]:
        dense = 100 if trial.dataset.train_images == 500 else 1000
        size = dense if trial.method.name == "weights" else 10
        return {"stored": [{"form": "fp32", "bytes": size, "parts": {}, "metrics": {"test/top1": 0.8}}]}

    _, files = tables.make(planned := sweep(text=AXIS), fill(planned, change))
    sizes = table_of(files, "sizes").set_index(["method", "width"])["ratio"]
    assert [sizes[name, 0.5] for name in parts("edge_popup")] == [10, 100]


def test_fronts_are_of_the_same_data(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep(("[0.5, 1.0]", "0.5"), text=AXIS)
    figures.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": 0.1 + t.dataset.train_images / 2000}}))
    lines = [line for line in drawn[1].axes[0].get_lines() if line.get_label() == "front"]
    assert [line.get_ydata().tolist() for line in lines] == [pytest.approx([0.35]), pytest.approx([0.6])]


def test_other_settings_of_the_same_images_are_compared(sweep: Any, fill: Any) -> None:
    """Augmentation changes no image on the disk, so its control is compared with the series that it controls for."""
    _, files = tables.make(planned := sweep(text=AUGMENT), fill(planned))
    latex = (files[0].parent / "differences.tex").read_text().replace("\\_", "_")
    assert "weights augment=crop - weights augment=protocol" in latex


def test_test_sets_of_two_sizes_are_both_told(sweep: Any, fill: Any) -> None:
    images = ("digits, train_images: [500, 1000]", "imagenet, loader: synthetic, num_images: [500, 1000]")
    planned = sweep(images, text=AXIS)

    def change(trial: Trial) -> dict[str, Any]:
        num = trial.dataset.num_images
        return {"data_id": f"synthetic-{num}", "test_predictions": [0] * (num // 5)}

    text, _ = tables.make(planned, fill(planned, change))
    told = [line.partition(", so")[0] for line in text.splitlines() if "test images, so" in line]
    assert told == ["- imagenet: 100 test images", "- imagenet: 200 test images"]


@pytest.mark.parametrize("whole", ["seed", "width"])
def test_data_that_were_not_planned_are_refused(sweep: Any, fill: Any, whole: str) -> None:
    """Within one cell, and among cells of equal settings of the data."""
    planned = sweep(text=AXIS)

    def change(trial: Trial) -> dict[str, Any]:
        other = trial.seed == 2 if whole == "seed" else trial.model.width_mult == 0.5
        return {"data_id": "other" if other and trial.dataset.train_images == 500 else data_id_of(trial)}

    ledger = fill(planned, change)
    for make in (tables.make, figures.make, cells):
        with pytest.raises(InputError, match=r"^digits train_images=500: results were made from different data: ") as e:
            make(planned, ledger)
        assert "other (as in trial " in str(e.value) and "data-digits-500 (as in trial " in str(e.value)


def test_a_search_has_a_group_of_each_part(sweep: Any, fill: Any) -> None:
    """The best learning rate of 500 images is 0.1, that of 1000 is 0.2."""
    planned = sweep(text=SEARCH)

    def change(trial: Trial) -> dict[str, Any]:
        return {"metrics": {"val/top1": 0.9 - abs(trial.method.lr - (0.1 * trial.dataset.train_images / 500))}}

    groups = {group.label: group.kept[0].values for group in tuned.groups(planned, fill(planned, change))}
    assert {label: values["method.lr"] for label, values in groups.items() if label.startswith("weights")} == {
        "weights train_images=500, conv2, digits": 0.1,
        "weights train_images=1000, conv2, digits": 0.2,
    }


def test_a_search_refuses_data_that_were_not_planned(sweep: Any, fill: Any) -> None:
    planned = sweep(text=SEARCH)
    ledger = fill(planned, lambda t: {"data_id": "other"} if t.seed == 2 and t.dataset.train_images == 500 else {})
    message = "^digits train_images=500: results were made from different data: data-digits-500, other$"
    with pytest.raises(InputError, match=message):
        tuned.groups(planned, ledger)
