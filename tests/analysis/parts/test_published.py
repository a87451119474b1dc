"""Published numbers: each with its origin, beside our means and never among them."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hatchling.builders.wheel import WheelBuilder

from analysis.parts import published
from analysis.parts.published import FILE, ORIGIN, SOURCE_RELIABILITY
from analysis.reports import tables
from analysis.statistics.intervals import t_interval
from suite.config import InputError
from suite.config.sweep_file import Sweep
from suite.records.ledger import Ledger

CIFAR = """\
name: on_cifar
base: {dataset: cifar10, epochs: 1, global_batch_size: 64}
grid:
  model: {name: conv6, width_mult: [0.5, 1.0]}
  seed: [1, 2, 3]
  method:
    - {name: weights, lr: 0.1}
    - {name: iterand, lr: 0.1, sparsity: [0.5, 0.7]}
"""


def ours(**changes: Any) -> pd.DataFrame:
    row = {"dataset": "cifar10", "model": "conv6", "width": 1.0, "method": "weights", "n": 3, "seeds": "1 2 3"}
    return pd.DataFrame([row | {"mean": 0.9, "low": 0.89, "high": 0.91} | changes])


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the shipped file with cells of its third row changed; None takes a column away."""

    def edited(**changes: str | None) -> Path:
        with FILE.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        rows[2] |= {key: text for key, text in changes.items() if text is not None}
        kept = [key for key in rows[0] if key not in changes or changes[key] is not None]
        with (tmp_path / "published.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, kept, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / "published.csv"

    return edited


# The file -----------------------------------------------------------------------------------------------------------


def test_every_number_has_its_origin() -> None:
    with FILE.open(newline="", encoding="utf-8") as file:
        raw = list(csv.DictReader(file))
    assert all(row[key].strip() for row in raw for key in ORIGIN)
    assert {row["confidence"] for row in raw} == SOURCE_RELIABILITY.keys()
    assert not any("stored file" in text or "/work" in text for row in raw for text in row.values())


def test_what_the_file_holds() -> None:
    table = published.load()
    assert len(table) == 51
    assert Counter(table["confidence"]) == {"verified": 29, "secondary": 14, "from_figure": 8}
    assert Counter(table["dataset"]) == {"cifar10": 41, "imagenet": 10}
    assert not table.duplicated(["dataset", "network", "width", "method", "distribution", "source", "value"]).any()
    dense = table["method"] == "weights"
    assert (table.loc[dense, "sparsity"] == 0).all() and not (table.loc[~dense, "sparsity"] == 0).any()
    assert table["value"].between(45, 95).all()  # a share, or a ratio, would lie below


def test_an_edited_copy_without_edits_is_the_file(edited: Callable[..., Path]) -> None:
    pd.testing.assert_frame_equal(published.load(edited()), published.load())


@pytest.mark.parametrize("column", ORIGIN)
@pytest.mark.parametrize("text", ["", "  "])
def test_a_row_without_its_origin_is_refused(edited: Callable[..., Path], column: str, text: str) -> None:
    file = edited(**{column: text})
    with pytest.raises(InputError) as error:
        published.load(file)
    assert error.value.problems == (f"{file}: row 3: {column}: is empty: no number stands here without it",)


@pytest.mark.parametrize("column", [*ORIGIN, "width", "value"])
def test_a_file_without_a_column_is_refused(edited: Callable[..., Path], column: str) -> None:
    with pytest.raises(InputError, match=rf"columns: {column}: must be there$"):
        published.load(edited(**{column: None}))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"confidence": "verifid"}, "confidence: verifid: did you mean verified? valid: "),
        ({"value": ""}, "value: is empty: must be in percent"),
        ({"value": "101"}, "value: 101: must be in percent"),
        ({"value": "-1"}, "value: -1: must be in percent"),
        ({"value": "ninety"}, "value: ninety: must be a number, or empty"),
        ({"width": "wide"}, "width: wide: must be a number, or empty"),
        ({"sparsity": "nan"}, "sparsity: nan: must be a number, or empty"),
    ],
)
def test_other_mistakes_are_told_by_row(edited: Callable[..., Path], changes: dict[str, str], problem: str) -> None:
    with pytest.raises(InputError) as error:
        published.load(edited(**changes))
    (line,) = error.value.problems
    assert f"row 3: {problem}" in line


def test_every_mistake_is_told_at_once(edited: Callable[..., Path]) -> None:
    with pytest.raises(InputError) as error:
        published.load(edited(source="", confidence="", value="x"))
    assert len(error.value.problems) == 3


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    for name in ("none.csv", "empty.csv"):
        with pytest.raises(InputError, match="cannot be read as a table"):
            published.load(tmp_path / name)


def test_the_wheel_has_the_file(repository: Path) -> None:
    packed = WheelBuilder(str(repository)).recurse_included_files()
    assert FILE.relative_to(repository).as_posix() in {file.distribution_path for file in packed}


# Rows ---------------------------------------------------------------------------------------------------------------


def test_rows_of_a_network() -> None:
    found = published.rows("imagenet", "resnet50")
    assert list(zip(found["distribution"], found["value"], strict=True)) == [
        ("kaiming_normal", 61.7),
        ("signed_constant", 68.6),
    ]
    assert set(found["method"]) == {"edge_popup"} and set(found["confidence"]) == {"verified"}
    assert len(published.rows("imagenet", "WideResNet50")) == 4  # a network that the suite does not have
    conflicting = published.rows("cifar10", "resnet18").query("method == 'iterand'")
    assert dict(zip(conflicting["value"], conflicting["width"].isna(), strict=True)) == {92.61: True, 92.47: False}


def test_rows_where_nothing_was_published() -> None:
    found = published.rows("digits", "conv2")
    assert found.empty and list(found.columns) == list(published.load().columns)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("cifar11", "conv6"), "dataset: cifar11: did you mean cifar10? valid: digits"),
        (("cifar10", "conv66"), "model: conv66: did you mean conv6? valid: conv2"),
    ],
)
def test_rows_of_an_unknown_name(names: tuple[str, str], problem: str) -> None:
    with pytest.raises(InputError) as error:
        published.rows(*names)
    assert str(error.value).startswith(problem)


# Beside our own -----------------------------------------------------------------------------------------------------


def test_ours_stand_beside_theirs_of_the_same_cell() -> None:
    found = published.table(ours(method="weights lr=0.01"))
    assert set(found["ours"]) == {90.0} and set(found["low"]) == {89.0} and set(found["high"]) == {91.0}
    theirs = dict(zip(found["published"], found["confidence"], strict=True))
    assert theirs == {88.5: "from_figure", 78.3: "secondary", 75.91: "verified"}
    assert set(found["published_width"]) == {1.0} and set(found["method"]) == {"weights lr=0.01"}
    assert all(found[key].str.strip().all() for key in ORIGIN)


@pytest.mark.parametrize(
    "changes", [{"dataset": "cifar100"}, {"model": "conv4"}, {"width": 0.5}, {"method": "iterand"}]
)
def test_another_cell_is_never_beside_it(changes: dict[str, Any]) -> None:
    found = published.table(ours(**changes))
    assert not {88.5, 78.3, 75.91} & set(found["published"])


@pytest.mark.parametrize("changes", [{"dataset": "digits"}, {"model": "resnet34"}, {"width": 0.5}])
def test_empty_where_nothing_was_published(changes: dict[str, Any]) -> None:
    found = published.table(ours(**changes))
    assert found.empty and list(found.columns) == list(published.table(ours()).columns)


def test_a_width_that_is_not_stated_is_told_so() -> None:
    both = pd.concat([ours(method="iterand", model="resnet18", width=width) for width in (0.5, 1.0)])
    found = published.table(both)
    rows = list(zip(found["width"], found["published"], found["published_width"].fillna(-1), strict=True))
    assert rows == [(0.5, 92.61, -1), (1.0, 92.61, -1), (1.0, 92.47, 1)]
    part = published.part(both, "test/top1")
    assert part is not None and part.shown["its width"].tolist() == ["not stated", "not stated", "1"]


def test_a_cell_without_results_is_missing() -> None:
    found = published.table(ours(n=0, mean=None, low=None, high=None))
    assert len(found) == 3 and found["ours"].isna().all() and found["published"].notna().all()


def test_from_the_records_of_a_sweep(sweep: Callable[..., Sweep], fill: Callable[..., Ledger]) -> None:
    planned = sweep(text=CIFAR)
    ledger = fill(planned, lambda trial: None if trial.method.name == "weights" else {})
    text, files = tables.make(planned, ledger)
    (file,) = (file for file in files if file.name == "published.csv")
    written = pd.read_csv(file, keep_default_na=False, na_values={"ours": ""})
    iterand = written[written["method"].str.startswith("iterand")]
    estimate = t_interval([0.81, 0.82, 0.83])
    np.testing.assert_allclose(iterand["ours"], 100 * estimate.mean)
    np.testing.assert_allclose(iterand["low"].astype(float), 100 * (estimate.mean - (estimate.half_width or 0)))
    assert set(iterand["published"]) == {88.8} and len(iterand) == 4  # two sparsities at two widths
    shown = text.partition("### Ours beside published numbers\n\n")[2].partition("\n\n")[0]
    assert " 88.8 (secondary) |" in shown and " not stated |" in shown and " missing |" in shown
    assert "- secondary: restated by others" in text and "arXiv 2106.09269" in text
    assert "- Published numbers come from other code" in text


def test_a_sweep_of_what_nobody_published(sweep: Callable[..., Sweep], fill: Callable[..., Ledger]) -> None:
    text, files = tables.make(planned := sweep(), fill(planned))
    assert "ublished" not in text
    assert not list(files[0].parent.glob("published.*"))


def test_validation_accuracy_is_never_beside_published_numbers(
    sweep: Callable[..., Sweep], fill: Callable[..., Ledger]
) -> None:
    planned = sweep(text=CIFAR)
    _, files = tables.make(planned, fill(planned))
    assert list(files[0].parent.glob("published.*"))
    searched = sweep(("name: on_cifar", "name: on_cifar\nsearch: grid"), text=CIFAR)
    text, _ = tables.make(searched, fill(searched))
    assert text.startswith("## on_cifar: val/top1") and "ublished" not in text
    assert not list(files[0].parent.glob("published.*"))  # what was there is stale
