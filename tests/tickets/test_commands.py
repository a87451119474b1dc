"""``python -m suite.tickets``: what it tells of the networks of real trials, and of what is none."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.checkpoint_states import bitwise_equal, flip, tiny
from support.disks import fill
from torch import nn

from suite import cli, data, models, tickets
from suite.config import Trial
from suite.data.interface import SplitName
from suite.launch import inline
from suite.records import DENSE, RESULT, TICKET, newest_attempt, read_result
from suite.records.ledger import Ledger
from suite.stopping import Stopped
from suite.tickets import NetworkMetadata, dense, file
from suite.tickets import __main__ as command
from suite.train import checkpoint

TRIALS: dict[str, Trial] = {
    "weights": tiny("weights"),
    "edge_popup": tiny("edge_popup"),
    "signs": tiny("iterand"),
}
NORMAL = TRIALS["signs"].method.model_copy(update={"distribution": "kaiming_normal"})
TRIALS["draws"] = TRIALS["signs"].model_copy(update={"method": NORMAL})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results; nobody may change it."""
    root = tmp_path_factory.mktemp("trained") / "results"
    for trial in TRIALS.values():
        folder = Ledger(root).folder(trial.trial_id)
        folder.mkdir(parents=True)
        inline.run(trial, folder, data_dir=None)
    return root


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "results"))


def network(root: Path, name: str) -> Path:
    return Ledger(root).folder(TRIALS[name].trial_id) / (DENSE if name == "weights" else TICKET)


def run(*arguments: object) -> int:
    """The exit status; on the CPU wherever that can be said."""
    device = [] if "--device" in arguments or arguments[0] == "info" else ["--device", "cpu"]
    return cli.run(lambda: command.main([*map(str, arguments), *device]))


def rewritten(path: Path, to: Path, **changes: Any) -> Path:
    """A ticket with other words in its header."""
    found = file.read(path)
    content = path.read_bytes()[found.first : -32]
    file.write(to, file.pack(found.header.model_copy(update=changes), [content]))
    return to


def accuracy(model: nn.Module, split: SplitName) -> float:
    images = data.load(TRIALS["signs"].dataset, data_dir=None, device="cpu")
    with torch.no_grad():
        right = [(model(x).argmax(1) == y).float() for x, y in images.batches(split, images.eval_batch_size)]
    return torch.cat(right).mean().item()


# info ---------------------------------------------------------------------------------------------------------------


def test_info_of_one(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, trial in TRIALS.items():
        path = network(trained, name)
        assert run("info", path) == 0
        of_file = capsys.readouterr().out
        assert run("info", path.parent) == 0
        assert capsys.readouterr().out == of_file
        told = dict(line.split(maxsplit=1) for line in of_file.splitlines() if not line.startswith(("bytes ", "entr")))
        assert (told["file"], told["network"], told["trial"]) == (str(path), "conv2 x0.0625", trial.trial_id)
        assert told["method"] == trial.method.name
        assert f"{path.stat().st_size} (" in of_file
        result = read_result(path.parent)
        assert result is not None and float(told["test/top1"]) == pytest.approx(result.metrics["test/top1"], rel=1e-5)


def test_info_of_several_and_as_json(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", trained) == 0
    _, _, *rows = capsys.readouterr().out.splitlines()
    paths = sorted(network(trained, name) for name in TRIALS)
    assert [row.split()[0] for row in rows] == list(map(str, paths))
    assert [int(row.split()[3]) for row in rows] == [path.stat().st_size for path in paths]
    assert run("info", trained, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == list(map(str, paths))
    for line, path in zip(lines, paths, strict=True):
        stored = tickets.info(path).stored
        assert (line["bytes"], line["parts"], line["metrics"]) == (stored.bytes, stored.parts, dict(stored.metrics))
        assert sum(line["parts"].values()) == line["bytes"] == path.stat().st_size
    assert run("info", paths[0], paths[0], "--json") == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [lines[0]] * 2


# verify -------------------------------------------------------------------------------------------------------------


def test_networks_are_what_their_records_say(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", trained) == 0
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[-1] for row in rows] == ["equal"] * 8
    assert [row.split()[1] for row in rows] == ["val/top1", "test/top1"] * 4
    for row in rows:
        path, measure, recorded, now, _ = row.split()
        result = read_result(Path(path).parent)
        assert result is not None and recorded == now == f"{result.metrics[measure]:.4f}"


@pytest.mark.parametrize("tolerance", [None, "0", "0.5", "inf"])
def test_an_accuracy_that_is_not_so(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tolerance: str | None
) -> None:
    path = network(copied, "signs")
    metrics = tickets.info(path).header.metrics
    off = {**metrics, "test/top1": metrics["test/top1"] - 36 / 360}  # 36 images
    alone = rewritten(path, tmp_path / "alone.ticket", metrics=off)
    flags = ["--tolerance", tolerance] if tolerance else []
    right = tolerance in ("0.5", "inf")
    assert run("verify", alone, *flags) == (0 if right else 1)
    assert "36 images differ" in capsys.readouterr().out
    rewritten(path, path, metrics=off)
    record = json.loads((path.parent / RESULT).read_text())
    record["stored"][0]["metrics"] = off  # as if it had been trained so
    (path.parent / RESULT).write_text(json.dumps(record))
    assert run("verify", copied, *flags) == (0 if right else 1)
    told = capsys.readouterr().out
    assert (told.count("36 images differ"), told.count("equal")) == (1, 7)


@pytest.mark.parametrize("tolerance", ["nan", "-0.1", "-inf"])
def test_a_tolerance_that_is_none(trained: Path, capsys: pytest.CaptureFixture[str], tolerance: str) -> None:
    assert run("verify", network(trained, "signs"), f"--tolerance={tolerance}") == 2
    assert capsys.readouterr().err == f"--tolerance: {float(tolerance)}: must be at least 0\n"


BREAKS: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes: it must have"),
    (lambda path: flip(path, path.stat().st_size - 40, 1), "is garbled: its checksum differs"),
    (lambda path: path.unlink(), ""),
    (lambda path: rewritten(path, path, metrics={"val/top1": 0.5}), "the record beside it differs"),
    (lambda path: shutil.copyfile(network(path.parents[2], "draws"), path), "the record beside it differs"),
    (lambda path: rewritten(path, path, data_id="0" * 16), "was trained on other data: 0000000000000000, here "),
    (lambda path: (path.parent / RESULT).write_text("{garbled"), f"{RESULT}: is garbled"),
]


@pytest.mark.parametrize(("harm", "told"), BREAKS)
def test_one_that_is_broken_does_not_hide_the_others(
    copied: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[Path], object], told: str
) -> None:
    path = network(copied, "signs")
    harm(path)
    assert run("verify", copied) == (1 if told else 0)  # one that is not there was perhaps never kept
    out, err = capsys.readouterr()
    assert told in out and err == ""
    assert out.count("equal") == 6
    assert len(out.splitlines()) == 2 + 6 + bool(told)


def test_nothing_recorded_and_nothing_said(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = network(trained, "draws")
    silent = rewritten(source, tmp_path / "silent.ticket", metrics={})
    assert run("verify", silent) == 0
    assert "no accuracy is recorded" in capsys.readouterr().out
    unknown = rewritten(source, tmp_path / "unknown.ticket", trial=None)
    assert run("verify", silent, unknown) == 1
    assert "says nothing of its training" in capsys.readouterr().out
    assert run("eval", unknown) == 2


# eval ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_eval_gives_the_accuracy(trained: Path, capsys: pytest.CaptureFixture[str], split: SplitName) -> None:
    for name in TRIALS:
        path = network(trained, name)
        assert run("eval", path.parent, "--split", split) == 0
        key, value, *_ = capsys.readouterr().out.split()
        assert key == f"{split}/top1" and float(value) == pytest.approx(accuracy(tickets.load(path), split), abs=1e-6)
    assert run("eval", path, "--split", split, "--dataset", "digits") == 0
    assert float(capsys.readouterr().out.split()[1]) == float(value)


def test_data_that_does_not_fit(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = network(trained, "signs")
    for name, told in (("nothing", "dataset: "), ("mnist", "--download")):
        assert run("eval", path, "--dataset", name, "--data-dir", tmp_path) == 2
        assert told in capsys.readouterr().err
    other = models.build("conv2", num_classes=7, image_size=8, in_channels=1, width_mult=0.0625)
    about = tickets.networks.with_build_arguments(other, NetworkMetadata(trial=tickets.info(path).header.trial))
    dense.write(tmp_path / "seven", dense.pack(other.state_dict(), "fp32", method="weights", about=about))
    assert run("eval", tmp_path / "seven", "--dataset", "digits") == 2
    assert "num_classes: the network has 7, the data set 10" in capsys.readouterr().err


# export -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRIALS)
def test_every_form(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    source = network(trained, name)
    state = dict(tickets.load(source).state_dict())
    for form in (*dense.FORMS, "pt"):
        place = source.parent if form == "bf16" else source
        assert run("export", place, "--form", form, "--to", tmp_path / form) == 0
        size = (tmp_path / form).stat().st_size
        assert capsys.readouterr().out == f"written: {tmp_path / form} ({size} bytes)\n"
    assert bitwise_equal(dict(tickets.load(tmp_path / "fp32").state_dict()), state)
    for form in dense.FORMS:
        info = tickets.info(tmp_path / form)
        assert info.header.metrics.keys() == tickets.info(source).header.metrics.keys()
        assert bitwise_equal(dict(tickets.load(tmp_path / form).state_dict()), dense.rounded(state, form))
    assert run("verify", *(tmp_path / form for form in dense.FORMS)) == 0
    assert capsys.readouterr().out.count("equal") == 2 * len(dense.FORMS)
    settings = tickets.info(source).header.network
    assert settings is not None
    model = models.build(**settings.model_dump(exclude={"own"}))
    model.load_state_dict(torch.load(tmp_path / "pt", weights_only=True))
    assert bitwise_equal(dict(model.state_dict()), state)
    assert run("export", source, "--form", "ticket", "--to", tmp_path / "x") == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", TRIALS)
def test_an_unfinished_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    trial, folder = TRIALS[name], Ledger(tmp_path).folder(TRIALS[name].trial_id)
    folder.mkdir(parents=True)
    to = ("--to", tmp_path / "made")
    assert run("export", folder, *to) == 2  # of no sweep
    (tmp_path / "sweeps").mkdir()
    raw = {"name": "s", "grid": [trial.model_dump(mode="json")]}
    (tmp_path / "sweeps/s.yaml").write_text(yaml.safe_dump(raw))
    assert run("export", folder, *to) == 2
    assert "has neither a network nor a whole checkpoint" in capsys.readouterr().err
    asked = iter(range(10_000))
    with pytest.raises(Stopped):
        inline.run(trial, folder, data_dir=None, should_stop=lambda: next(asked) > 25)
    attempt = newest_attempt(folder)
    assert attempt is not None
    state = checkpoint.load_newest(attempt)
    assert state is not None
    before = sorted(tmp_path.rglob("*"))
    masked = name != "weights"
    assert run("export", folder, "--form", "ticket", *to) == (0 if masked else 2)
    if masked:
        assert bitwise_equal(dict(tickets.load(tmp_path / "made").state_dict()), dict(state["model"]))
        assert tickets.info(tmp_path / "made").header.trial_id == trial.trial_id
        assert run("verify", tmp_path / "made") == 0
        assert run("eval", tmp_path / "made") == 0
    for form in ("fp32", "int8", "int4", "pt"):
        assert run("export", folder, "--form", form, "--to", tmp_path / form) == 0
    assert bitwise_equal(dict(tickets.load(tmp_path / "fp32").state_dict()), dict(state["model"]))
    assert sorted(set(tmp_path.rglob("*")) - set(before)) == sorted(
        tmp_path / made for made in ("fp32", "int8", "int4", "pt", *(["made"] if masked else []))
    )


def test_export_of_a_folder_is_evaluated_as_export_of_its_file(copied: Path, tmp_path: Path) -> None:
    path = network(copied, "draws")
    record = json.loads((path.parent / RESULT).read_text())
    record["config"]["dataset"] = {"name": "mnist"}  # stands for ImageNet somewhere else
    (path.parent / RESULT).write_text(json.dumps(record))
    flags = ("--form", "int8", "--to", tmp_path / "int8", "--data-dir", tmp_path)
    assert run("export", path, *flags) == 2
    assert run("export", path.parent, *flags) == 2


def test_no_room_for_an_export(trained: Path, disk: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    full = disk(64)
    fill(full)
    assert run("export", network(trained, "signs"), "--to", full / "fp32") == 1
    err = capsys.readouterr().err
    assert "No space left on device" in err and len(err.splitlines()) == 1
    assert sorted(path.name for path in full.iterdir()) == ["filler"]


# Wrong uses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("export TICKET --to DIR/none/x", "must be a file in a folder that exists"),
        ("export TICKET --to DIR", "must be a file in a folder that exists"),
        ("export TICKET --to TICKET/x", "must be a file in a folder that exists"),
        ("export RESULTS --to DIR/x", "holds 4 networks: name one of them, as "),
        ("eval RESULTS", "holds 4 networks: name one of them, as "),
        ("eval TICKET --device foo", "--device foo: "),
        ("verify TICKET --device foo", "--device foo: "),
        ("export TICKET --form bf16 --to DIR/x --device foo", "--device foo: "),
        ("info DIR/fifo", "is no file"),
        ("info DIR/text", "is no ticket"),
        ("info DIR/nothing", "is no file"),
        ("info DIR/no-bytes", "is no ticket"),
        ("info DIR/empty", "holds no network"),
        ("verify DIR/empty", "holds no network"),
        ("eval DIR/fifo", "is no file"),
        ("export DIR/text --to DIR/x", "is no ticket"),
        ("eval GARBLED", "result.json: is garbled"),
    ],
)
def test_wrong_uses(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, told: str) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("no network, and longer than a head")
    (tmp_path / "no-bytes").touch()
    (network(copied, "draws").parent / RESULT).write_text("{")
    words = {"DIR": tmp_path, "RESULTS": copied}
    words |= {"TICKET": network(copied, "signs"), "GARBLED": network(copied, "draws")}
    named = (word.partition("/") for word in line.split())
    assert run(*(f"{words.get(first, first)}{slash}{rest}" for first, slash, rest in named)) == 2
    out, err = capsys.readouterr()
    assert told in err and len(err.splitlines()) == 1 and out == ""


def test_verify_of_no_network_tells_the_others(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert run("verify", tmp_path / "fifo", tmp_path / "nothing", network(trained, "signs")) == 1
    assert capsys.readouterr().out.count("equal") == 2


@pytest.mark.parametrize("name", ["meta", "hpu"])
def test_a_device_that_is_none(trained: Path, name: str) -> None:
    assert run("eval", network(trained, "signs"), "--device", name) == 2
