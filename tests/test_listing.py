"""``python -m suite list``: what there is of each kind, a line each."""

import pytest

from suite import __main__ as command
from suite import listing
from suite.config import DATASETS, METHODS, MODELS
from suite.config.shipped import PROFILES, SWEEPS
from suite.config.sweep_file import load_sweep
from suite.slurm.profile import find_profile

Said = pytest.CaptureFixture[str]
THERE = {"methods": METHODS, "models": MODELS, "datasets": DATASETS, "sweeps": SWEEPS.files, "profiles": PROFILES.files}


def listed(kind: str, capsys: Said) -> dict[str, str]:
    assert command.main(["list", kind]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    return {name: "".join(rest) for name, *rest in lines}


@pytest.mark.parametrize("kind", THERE)
def test_all_there_are_and_what_they_are(kind: str, capsys: Said) -> None:
    found = listed(kind, capsys)
    assert list(found) == list(THERE[kind])
    assert all(len(text) > 10 and "``" not in text for text in found.values())


def test_some_texts(capsys: Said) -> None:
    assert listed("methods", capsys)["weights"] == "Weight optimization: SGD on the weights."
    assert listed("profiles", capsys)["cpu"] == "A cluster without GPUs"
    assert listed("sweeps", capsys)["controls"].endswith("edge-popup as Ramanujan et al. had it.")


def test_what_is_listed_can_be_named(capsys: Said) -> None:
    assert all(load_sweep(name).trials for name in ("study/fashion_width", "tuning_digits"))
    assert all(find_profile(name) for name in listed("profiles", capsys))


def test_a_kind_that_there_is_not_names_those_that_there_are(capsys: Said) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["list", "optimizers"])
    said = capsys.readouterr().err
    assert "'optimizers'" in said and all(kind in said for kind in listing.KINDS)
