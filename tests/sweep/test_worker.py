"""What workers are given, place by place, and the sweeps that one call names."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.sweep_files import AXES, GOOD, Load

from suite import cli
from suite.config import InputError, Trial
from suite.config.sweep_file import Sweep
from suite.sweep import worker

REST = {"root": '/Ergebnisse/größe\u2028 "x"\n', "data_dir": None, "launcher": "local", "every_epoch": True}


@pytest.fixture
def sweep(load: Load) -> Sweep:
    """Six trials."""
    return load(AXES)


# Cells --------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(sweep: Sweep, tmp_path: Path) -> None:
    first, second, third, *_ = sweep.trials
    units = [([first], False), ([second, third], True), ([first, second, third], True), ([second], False)]
    path = tmp_path / "cells"
    places = worker.write_unit_specs(path, units, sweep.trials, {**REST, "site": {"ünits": [1, {"a": None}]}})
    assert places[0] == 0 and sorted(set(places)) == places
    for at, (unit, packed) in reversed(list(zip(places, units, strict=True))):
        cell = worker.read_unit_spec(path, at)
        trials = {trial_id: Trial.model_validate(settings) for trial_id, settings in cell.pop("trials").items()}
        assert list(trials) == unit
        assert trials == {trial_id: sweep.trials[trial_id] for trial_id in unit}
        assert {trial_id: trial.trial_id for trial_id, trial in trials.items()} == dict(zip(unit, unit, strict=True))
        assert cell == {"packed": packed, **REST, "site": {"ünits": [1, {"a": None}]}}


def test_numbers_keep_every_bit(load: Load, tmp_path: Path) -> None:
    sweep = load(
        GOOD.replace("lr: 0.1", "lr: [0.1, 1e-300, 0.30000000000000004, 3]").replace("seed: 1", "seed: 4294967295")
    )
    units = [([trial_id], False) for trial_id in sweep.trials]
    places = worker.write_unit_specs(tmp_path / "cells", units, sweep.trials, {})
    read = [worker.read_unit_spec(tmp_path / "cells", at)["trials"] for at in places]
    assert [Trial.model_validate(*cell.values()) for cell in read] == list(sweep.trials.values())


def test_nothing_to_run(tmp_path: Path) -> None:
    assert worker.write_unit_specs(tmp_path / "cells", [], {}, REST) == []


# What Tune is given -------------------------------------------------------------------------------------------------


def given(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The configs that Tune is given of a sweep, without Ray."""
    from contextlib import nullcontext

    from suite.records.ledger import Ledger
    from suite.sweep import ray_cluster, tune
    from suite.sweep.run_state import RunState

    class Ray:
        cluster_resources = staticmethod(lambda: {"CPU": 64.0, "GPU": 8.0})

    configs: list[dict[str, Any]] = []

    def fit(given: list[dict[str, Any]], scheduler: Any, state: RunState, *rest: Any) -> None:
        configs.extend(given)
        for config in given:
            state.record("ended", config["unit"])

    monkeypatch.setattr(tune, "_import_ray", Ray)
    monkeypatch.setattr(ray_cluster, "started", lambda ray, cpus: nullcontext(tmp_path))
    monkeypatch.setattr(tune, "_fit", fit)
    monkeypatch.setattr(tune.ray_monitor, "exit_if_ray_dies", lambda *about: nullcontext())
    display: Any = SimpleNamespace(phase=lambda what: None, ended=lambda trial_id: None)
    tune.run(sweep.trials, Ledger(tmp_path / "results"), data_dir=tmp_path / "données", display=display)
    return configs


def test_tune_is_given_places_alone(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = load(AXES), load(AXES.replace("dataset: digits", f"dataset: {{name: imagenet, root: {'x' * 5000}}}"))
    configs = {name: given(sweep, tmp_path, monkeypatch) for name, sweep in (("small", small), ("large", large))}
    for name in configs:
        assert [config["unit"] for config in configs[name]] == list(range(6))
        for config in configs[name]:
            assert config.keys() == {"unit", "file", "at", "resources", "plugins"}
            assert config["resources"] == {"cpu": 1.0, "gpu": 0.0}
            assert Path(config["file"]).parent == tmp_path
    grown = [len(json.dumps(each)) for each in configs["large"]]
    assert max(grown) - len(str(tmp_path)) < 150
    assert max(grown) <= max(len(json.dumps(each)) for each in configs["small"]) + 4  # digits of the place
    for config, trial_id in zip(configs["large"], large.trials, strict=True):
        cell = worker.read_unit_spec(Path(config["file"]), config["at"])
        assert list(cell["trials"]) == [trial_id]
        assert cell["data_dir"] == str(tmp_path / "données")


def test_tune_asks_for_them_in_order() -> None:
    from suite.sweep import tune

    configs = [{"unit": i, "at": 10**6 * i} for i in range(50)]
    searcher = tune._in_order(configs)
    assert [searcher.suggest(str(i)) for i in range(50)] == configs
    assert searcher.suggest("51") == type(searcher).FINISHED == searcher.suggest("52")


# Several sweeps -----------------------------------------------------------------------------------------------------


def arguments(*names: str, only: tuple[str, ...] = (), sets: tuple[str, ...] = ()) -> argparse.Namespace:
    flags = [part for flag, texts in (("--only", only), ("--set", sets)) for text in texts for part in (flag, text)]
    return cli.sweep_parser("x", "x", example="x", several=True).parse_args([*names, *flags])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(GOOD.replace("name: t", "name: a"))
    Path("b.yaml").write_text(AXES.replace("name: t", "name: b"))
    return tmp_path


def test_several_files_are_several_sweeps_in_their_order(here: Path) -> None:
    assert [sweep.name for sweep in cli.load_several(arguments("b.yaml", "a.yaml"))] == ["b", "a"]
    [only] = cli.load_several(arguments("a.yaml"))
    assert only.name == "a" and len(only.trials) == 1


def test_flags_hold_for_all_of_them(here: Path) -> None:
    first, second = cli.load_several(arguments("a.yaml", "b.yaml", only=("seed=1",), sets=("epochs=7",)))
    assert {trial.epochs for sweep in (first, second) for trial in sweep.trials.values()} == {7}
    assert (len(first.trials), len(second.trials)) == (1, 3)


def test_mistakes_of_all_files_at_once(here: Path) -> None:
    Path("bad.yaml").write_text(GOOD.replace("lr: 0.1", "lr: -1").replace("epochs: 2", "epochs: 0"))
    Path("worse.yaml").write_text("name: [")
    with pytest.raises(InputError) as caught:
        cli.load_several(arguments("bad.yaml", "a.yaml", "worse.yaml", "none.yaml", "b.yaml"))
    files = [problem.split(":")[0] for problem in caught.value.problems]
    assert files == ["bad.yaml", "bad.yaml", "worse.yaml", "none.yaml"]


def test_two_sweeps_of_one_name(here: Path) -> None:
    Path("again.yaml").write_text(AXES.replace("name: t", "name: a"))
    Path("bad.yaml").write_text(GOOD.replace("lr: 0.1", "lr: -1"))
    with pytest.raises(InputError) as caught:
        cli.load_several(arguments("a.yaml", "b.yaml", "again.yaml", "bad.yaml"))
    told, bad = caught.value.problems
    assert told == "again.yaml: name: a: must be another one than in a.yaml"
    assert bad.startswith("bad.yaml:6: ")


def test_one_file_twice(here: Path) -> None:
    with pytest.raises(InputError, match=r"^a\.yaml: name: a: must be another one than in a\.yaml$"):
        cli.load_several(arguments("a.yaml", "a.yaml"))
