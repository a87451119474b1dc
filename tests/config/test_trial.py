"""Settings: the id of a trial (of each key: ``test_identity``), and that they load nothing heavy."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from suite.config import DATASETS, METHODS, MODELS, ConvSettings, Settings, Trial, identity
from suite.config import trial as trial_module
from suite.testing import subject

BLOCKS = {"dataset": DATASETS, "model": MODELS, "method": METHODS}
Keys = tuple[str, ...]
OWN_IMAGES = {
    "arrays": {"file": "images.npz", "content": "0123456789abcdef"},
    "folder": {"root": "images", "content": "0123456789abcdef", "image_size": 32},
}


def settings(**blocks: dict[str, Any]) -> dict[str, Any]:
    """A trial with every setting written out."""
    method = {"name": "iterand", "lr": 0.3, "sparsity": 0.5, "end_epoch": 2, "rounds": 2, **blocks.get("method", {})}
    method = {key: value for key, value in method.items() if key in METHODS[method["name"]].model_fields}
    dataset = {"name": "digits", **blocks.get("dataset", {})}
    model = {"name": "conv2", **blocks.get("model", {})}
    fields = MODELS[model["name"]].model_fields
    needed = {key: subject.value_of(field) for key, field in fields.items() if field.is_required() and key not in model}
    trial = {
        "dataset": {**OWN_IMAGES.get(dataset["name"], {}), **dataset},
        "model": {**needed, **model},
        "method": method,
        "seed": 7,
        "epochs": 4,
        "global_batch_size": 64,
    }
    return Trial.model_validate(trial).model_dump(mode="json")


def trial_id(raw: dict[str, Any]) -> str:
    return Trial.model_validate(raw).trial_id


def test_trial_id_is_what_it_was() -> None:
    """Golden: if one of these changes, every result on every disk is orphaned."""
    weights = settings(method={"name": "weights", "lr": 0.02, "weight_decay": 1e-4}, model={"width_mult": 0.25})
    assert trial_id(weights) == "5d380dc6775b"
    assert trial_id(settings()) == "7f51f2d5ed98"


def test_trial_id_changes_with_the_name_of_each_block() -> None:
    trials = [settings(**{kind: {"name": name}}) for kind, names in BLOCKS.items() for name in names]
    assert len({trial_id(raw) for raw in trials}) == len(trials) - 2  # one of each kind is the same trial


def test_trial_id_does_not_tell_defaults_spelling_or_order() -> None:
    short = {
        "method": {"name": "iterand", "lr": 1, "sparsity": 0.5},
        "model": {"name": "conv2"},
        "dataset": "digits",
        "global_batch_size": 64,
        "epochs": 4,
        "seed": 7,
    }
    full = settings(method={"lr": 1.0})
    assert len(str(full)) > 2 * len(str(short))
    assert trial_id(short) == trial_id(full)
    assert trial_id({**short, "model": {"name": "conv2", "width_mult": 1}}) == trial_id(short)
    assert trial_id({**short, "schedule": {}, "resources": {}}) == trial_id(short)


def all_settings() -> list[Any]:
    """Each setting of each block, by its path."""
    cases = []
    for kind, classes in BLOCKS.items():
        for name, cls in classes.items():
            raw = settings(**{kind: {"name": name}})
            cases += [pytest.param(raw, (kind, key), id=f"{name}.{key}") for key in cls.model_fields if key != "name"]
    for key, field in Trial.model_fields.items():
        inner = field.annotation
        if key in BLOCKS:
            continue
        keys = list(inner.model_fields) if isinstance(inner, type) and issubclass(inner, Settings) else []
        paths = [(key, other) for other in keys] or [(key,)]
        cases += [pytest.param(settings(), path, id=".".join(path)) for path in paths]
    return cases


def zero_at(raw: dict[str, Any], path: Keys, zero: float | int) -> dict[str, Any]:
    """The same trial with a zero of this spelling at ``path``."""
    other = json.loads(json.dumps(raw))
    (other[path[0]] if len(path) > 1 else other)[path[-1]] = zero
    return other


def settings_that_may_be_zero() -> list[Any]:
    """Each setting that takes 0.0, by its path."""
    cases = []
    for case in all_settings():
        with suppress(ValidationError):
            Trial.model_validate(zero_at(*case.values, 0.0))
            cases.append(case)
    return cases


@pytest.mark.parametrize(("raw", "path"), settings_that_may_be_zero())
def test_minus_zero_is_zero(raw: dict[str, Any], path: Keys) -> None:
    zero, minus, whole = (Trial.model_validate(zero_at(raw, path, number)) for number in (0.0, -0.0, 0))
    assert minus.trial_id == zero.trial_id == whole.trial_id
    assert minus.model_dump_json() == zero.model_dump_json() == whole.model_dump_json()
    assert Trial.model_validate_json(json.dumps(zero_at(raw, path, -0.0))).trial_id == zero.trial_id


def test_minus_zero_is_zero_in_a_block_of_a_block() -> None:
    raw = settings(dataset={"name": "imagenet"})
    texts = {
        Trial.model_validate(zero_at(raw, ("dataset", "decoder"), {"hw_load": zero})).model_dump_json()  # type: ignore[arg-type]
        for zero in (0.0, -0.0)
    }
    assert len(texts) == 1 and "-0.0" not in texts.pop()


def test_trial_ids_of_zeros_and_whole_numbers_are_what_they_were() -> None:
    zeros = settings(method={"momentum": 0.0, "sparsity": 0.0, "rerandomize_prob": 0.0})
    assert trial_id(zeros) == "4ce0539dda48"
    assert trial_id(settings(method={"lr": 1, "weight_decay": 2})) == "baf73097736a"
    assert trial_id(settings(method={"lr": 2**53 + 1})) == trial_id(settings(method={"lr": 2.0**53})) == "8ee4dec16b87"


def test_trial_id_is_twelve_hex_digits_and_survives_json() -> None:
    trial = Trial.model_validate(settings())
    assert len(trial.trial_id) == 12
    assert int(trial.trial_id, 16)
    assert Trial.model_validate_json(trial.model_dump_json()) == trial


def test_a_new_setting_with_a_default_renames_nothing() -> None:
    class DeepConv(ConvSettings):
        depth: int = 3

    class LaterTrial(Trial):
        model: DeepConv
        precision: str = "fp32"

    raw = settings(model={"width_mult": 0.5})
    assert LaterTrial.model_validate(raw).trial_id == trial_id(raw)
    assert LaterTrial.model_validate({**raw, "precision": "bf16"}).trial_id != trial_id(raw)
    assert LaterTrial.model_validate({**raw, "model": {**raw["model"], "depth": 4}}).trial_id != trial_id(raw)


def test_the_version_of_results_renames_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trial_id(settings())
    monkeypatch.setattr(trial_module, "RESULTS_VERSION", trial_module.RESULTS_VERSION + 1)
    assert trial_id(settings()) != before


def test_identity_holds_what_is_not_default() -> None:
    trial = Trial.model_validate({**settings(), "schedule": {"warmup_epochs": 1}, "resources": {"cpus": 2}})
    assert identity(trial) == {
        "dataset": {"name": "digits"},
        "model": {"name": "conv2"},
        "method": {"name": "iterand", "lr": 0.3, "sparsity": 0.5},
        "seed": 7,
        "epochs": 4,
        "global_batch_size": 64,
        "schedule": {"warmup_epochs": 1},
    }


def test_settings_are_frozen() -> None:
    trial = Trial.model_validate(settings())
    with pytest.raises(ValidationError, match="frozen"):
        trial.seed = 3  # type: ignore[misc]
    assert hash(trial) == hash(Trial.model_validate(settings()))


@pytest.mark.parametrize(
    "modules", ["suite.config", "suite.config.sweep_file", "suite.records.ledger, suite.sweep.plan, suite.cli"]
)
def test_settings_load_nothing_heavy(repository: Path, modules: str) -> None:
    heavy = "torch", "ray", "mlflow", "rich", "pandas", "numpy", "scipy", "matplotlib", "sklearn"
    command = f"import sys, {modules}; print(*[m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
