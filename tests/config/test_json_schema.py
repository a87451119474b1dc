"""The JSON Schema that editors complete and check sweep files with."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from support.documents import ROOT, blocks, documents
from support.reference_pages import SECTIONS
from support.sweep_files import AXES, DRAWN, GOOD, RANGE

from suite import __main__ as command
from suite.config import DATASETS, METHODS, MODELS, Trial, json_schema
from suite.config.descriptions import descriptions
from suite.config.shipped import SWEEPS
from suite.config.sweep_file import load_sweep
from suite.config.yaml_text import parse

KEPT = ROOT / "sweeps/sweep.schema.json"
SEARCH = GOOD.replace("name: t\n", "name: t\nsearch: grid\nscheduler: {name: asha, grace_epochs: 2}\n")
NESTED = GOOD.replace("grid:\n", "grid:\n  schedule: {warmup_epochs: [1, 2]}\n  resources: {cpus: 0.5}\n")
NAMES = GOOD.replace("name: conv2", "name: [conv2, conv4]").replace("dataset: digits, ", "")
NAMES = NAMES.replace("grid:\n", "grid:\n  dataset: [digits, {name: cifar10, augment: [crop, none]}]\n")
SPLIT = GOOD.replace("{name: weights, lr: 0.1}", "{lr: [0.1, 1]}")
SPLIT = SPLIT.replace("base: {", "base: {method: {name: weights}, ")


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    schema = json.loads(json_schema.text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def values(text: str) -> Any:
    return parse(text, "s.yaml")


def texts_of_documents() -> Iterator[tuple[str, str]]:
    for page in documents():
        for block in blocks(page):
            if block.language == "yaml" and re.search(r"(?m)^grid:", block.text):
                yield page.name, block.text


def test_the_kept_file_is_what_the_code_makes() -> None:
    assert KEPT.read_text(encoding="utf-8") == json_schema.text(), "run make docs-reference"


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["schema"]) == 0
    assert capsys.readouterr().out == json_schema.text()


@pytest.mark.parametrize("name", SWEEPS.files)
def test_a_shipped_sweep_names_it_and_passes(name: str, validator: Draft7Validator) -> None:
    """By a path from the file itself: it is found offline, in a clone and in a wheel."""
    file = SWEEPS.files[name]
    first, rest = file.read_text(encoding="utf-8").split("\n", 1)
    place = first.removeprefix("# yaml-language-server: $schema=")
    assert place != first and (file.parent / place).samefile(KEPT)
    validator.validate(values(rest))


@pytest.mark.parametrize("name", ["width_vs_acc", "study/fashion_tuning"])
def test_the_line_changes_no_trial(name: str, tmp_path: Path) -> None:
    file = SWEEPS.files[name]
    (tmp_path / "s.yaml").write_text(file.read_text().split("\n", 1)[1])
    assert load_sweep(tmp_path / "s.yaml").trials.keys() == load_sweep(file).trials.keys()


@pytest.mark.parametrize("page", sorted({page for page, _ in texts_of_documents()}))
def test_the_sweeps_of_documents_pass(page: str, validator: Draft7Validator) -> None:
    for text in (text for name, text in texts_of_documents() if name == page):
        validator.validate(values(text))


@pytest.mark.parametrize("text", [GOOD, AXES, DRAWN, RANGE, SEARCH, NESTED, NAMES, SPLIT])
def test_what_the_suite_takes_passes(text: str, validator: Draft7Validator, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    assert load_sweep(tmp_path / "s.yaml").trials
    validator.validate(values(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: t", "nam: t"),
        ("name: t\n", "name: t\nsearch: {name: grid, trials: 3}\n"),
        ("name: t\n", "name: t\nscheduler: hyperband\n"),
        ("epochs: 2", "epoch: 2"),
        ("epochs: 2", "epochs: 0"),
        ("epochs: 2", "epochs: two"),
        ("epochs: 2", "epochs: [2, 3]"),
        ("seed: 1", "seed: -1"),
        ("seed: 1", "seed: []"),
        ("seed: 1", "seed: [1, one]"),
        ("dataset: digits", "dataset: digit"),
        ("dataset: digits", "dataset: {name: digits, augment: crops}"),
        ("name: conv2", "name: conv3"),
        ("width_mult: 0.5", "width: 0.5"),
        ("name: weights", "name: weight"),
        ("lr: 0.1", "lr: 0.1, sparsity: 0.5"),
        ("lr: 0.1", "lr: [0.1, 0]"),
        ("lr: 0.1", "lr: {uniform: [0.1]}"),
        ("lr: 0.1", "lr: {uniform: [0.1, 1], choice: [1]}"),
    ],
)
def test_a_mistake_is_marked(old: str, new: str, validator: Draft7Validator) -> None:
    assert old in GOOD and not validator.is_valid(values(GOOD.replace(old, new)))


@pytest.mark.parametrize("block", ["base", "block"])
def test_every_setting_is_completed_with_its_description(block: str) -> None:
    definitions = json_schema.sweep_file_schema()["definitions"]
    for key, text in descriptions(Trial).items():
        assert definitions[block]["properties"][key]["description"] == text
    for kind, classes in (("dataset", DATASETS), ("model", MODELS), ("method", METHODS)):
        told = definitions[f"{block}.{kind}"]["properties"]
        for cls in classes.values():
            assert all(text in told[key]["description"] for key, text in descriptions(cls).items() if key != "name")
            assert told.keys() >= cls.model_fields.keys()


def test_every_setting_of_a_sweep_file_is_completed() -> None:
    top = json_schema.sweep_file_schema()["properties"]
    [(_, [sweep_file]), *inner] = SECTIONS["Sweep file"]
    assert top.keys() == sweep_file.model_fields.keys()
    for key, [cls] in inner:
        assert top[key]["anyOf"][1]["properties"].keys() == cls.model_fields.keys()
