"""Failures at chance: the accuracy of a network that guesses among the classes of its data set."""

from pathlib import Path
from typing import Any

import pytest
from support.plugin_packages import installed, write_example

from analysis.parts.cells import cells
from analysis.parts.failures import at_chance
from suite.records import plugin_source, write_failure

PHOTOS = ("dataset: digits", "dataset: {name: imagenet, root: photos, loader: torchvision}")
BLOBS = ("dataset: digits", "dataset: blobs")


def guesses(planned: Any, ledger: Any) -> list[dict[int, float] | None]:
    """Of each cell: weights and edge-popup at width 0.5, then at width 0.25."""
    return [cell and cell.guesses for cell in map(at_chance, cells(planned, ledger))]


def diverged(classes: int | None) -> Any:
    """The trials of seed 2 diverge; at width 0.25 those of edge-popup have no result at all."""

    def change(trial: Any) -> dict[str, Any] | None:
        if trial.method.name == "edge_popup" and trial.model.width_mult == 0.25:
            return None
        recorded = {"num_classes": classes, "plugins": plugin_source.used_by(trial)}
        return recorded | ({"status": "diverged"} if trial.seed == 2 else {})

    return change


def test_a_folder_of_photos_has_its_own_number_of_classes(sweep: Any, fill: Any) -> None:
    planned = sweep(PHOTOS)
    assert guesses(planned, fill(planned, diverged(4))) == [{2: 1 / 4}, {2: 1 / 4}, {2: 1 / 4}, None]


def test_the_data_set_of_a_plugin_has_its_number_of_classes(sweep: Any, fill: Any, tmp_path: Path) -> None:
    write_example(tmp_path, "docs/how-to/own_data.md")
    with installed(tmp_path):
        planned = sweep(BLOBS)
        assert guesses(planned, fill(planned, diverged(5))) == [{2: 1 / 5}, {2: 1 / 5}, {2: 1 / 5}, None]


def test_a_failed_trial_guesses_among_the_classes_that_other_trials_of_its_data_record(
    sweep: Any, fill: Any, tmp_path: Path
) -> None:
    planned = sweep(PHOTOS)
    ledger = fill(planned, diverged(4))
    for trial_id in planned.trials:
        if not (ledger.folder(trial_id) / "result.json").exists():
            ledger.folder(trial_id).mkdir(parents=True)
            write_failure(ledger.folder(trial_id), trial_id, ValueError("x"))
    assert guesses(planned, ledger)[3] == {1: 1 / 4, 2: 1 / 4, 3: 1 / 4}


@pytest.mark.parametrize(("data", "chance"), [("cifar100", 1 / 100), ("imagenet", 1 / 1000)])
def test_older_records_have_the_classes_of_the_data_sets_that_come_with_the_suite(
    sweep: Any, fill: Any, data: str, chance: float
) -> None:
    planned = sweep(("dataset: digits", f"dataset: {data}"))
    assert guesses(planned, fill(planned, diverged(None)))[0] == {2: chance}
