"""What a trial leaves of its network: the right bits, once, whatever stops or kills the trial, or nothing at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import trial_processes
from support.checkpoint_states import bitwise_equal, tiny
from support.disks import fill
from support.ranks import fresh_rendezvous, on_ranks
from torch import Tensor

from suite import cli, methods, tickets
from suite.config import InputError, Trial
from suite.launch import inline
from suite.records import DENSE, RESULT, TICKET, read_result
from suite.stopping import Stopped
from suite.testing.method.cases import cases_of
from suite.tickets import NetworkMetadata, dense
from suite.tickets import __main__ as command
from suite.tickets.verify import Evaluator, trial_of
from suite.train import loop, network_files

EACH = methods.names()
TRAINED = [name for name in EACH if methods.trains_weights(methods.get(name))]  # kept as safetensors
SELECTING = [name for name in EACH if name not in TRAINED]  # kept as tickets
IN_AN_EPOCH = [name for name in EACH if name != "imp"]  # its rounds take two


def folder_in(path: Path, name: str = "trial") -> Path:
    (path / name).mkdir(exist_ok=True)
    return path / name


def network(folder: Path) -> Path:
    """The one there is."""
    (found,) = [folder / name for name in (TICKET, DENSE) if (folder / name).exists()]
    return found


def networks(folder: Path) -> list[Path]:
    return [path for name in (TICKET, DENSE) for path in folder.rglob(f"*{name}*")]


def verify(*paths: Path, tolerance: str = "0") -> int:
    return cli.run(lambda: command.main(["verify", *map(str, paths), "--tolerance", tolerance, "--device", "cpu"]))


def export(source: Path, form: str, to: Path) -> int:
    line = ["export", str(source), "--form", form, "--to", str(to), "--device", "cpu"]
    return cli.run(lambda: command.main(line))


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The networks of the trials of this process, as they were when they were to be kept."""
    found: list[dict[str, Tensor]] = []
    save_network = network_files.save_network

    def look(run: Any, *args: Any) -> Any:
        found.append({name: tensor.clone() for name, tensor in run.model.state_dict().items()})
        return save_network(run, *args)

    monkeypatch.setattr(loop.network_files, "save_network", look)
    return found


@pytest.mark.parametrize("method", cases_of(EACH))
def test_each_method_leaves_its_network(tmp_path: Path, states: list[dict[str, Tensor]], method: str) -> None:
    trial, folder = tiny(method), folder_in(tmp_path)
    result = inline.run(trial, folder, data_dir=None)
    assert trial_processes.unexpected_files(folder) == []
    path = network(folder)
    assert path.name == (DENSE if method in TRAINED else TICKET)
    assert bitwise_equal(dict(tickets.load(path).state_dict()), states[0])
    info = tickets.info(path)
    of_zeros = method in TRAINED and method != "weights"
    forms = [*dense.FORMS] if method in TRAINED else ["ticket", "fp32"]
    assert [stored.form for stored in result.stored if not stored.form.startswith("sparse-")] == forms
    assert result.stored[of_zeros] == info.stored
    assert (info.stored.form == "sparse-fp32") == of_zeros
    assert info.stored.bytes == path.stat().st_size == sum(info.stored.parts.values())
    metrics = {key: value for key, value in result.metrics.items() if not key.startswith("train/")}
    assert info.header.metrics == metrics and {"val/top1", "test/top1", "val/loss", "test/loss"} == metrics.keys()
    assert (info.header.trial_id, info.header.data_id) == (trial.trial_id, result.data_id)
    assert read_result(folder) == result
    assert verify(path) == 0
    for stored in result.stored:
        if stored.form in dense.FORMS:
            content = dense.pack(states[0], stored.form, method=method, about=NetworkMetadata())
            assert stored.parts["weights"] == dense.sizes(content, stored.form, {}).parts["weights"]


@pytest.mark.parametrize("method", cases_of(name for name in SELECTING if name != "biprop"))
def test_scaled_weights(tmp_path: Path, states: list[dict[str, Tensor]], method: str) -> None:
    usual = tiny(method, epochs=1)
    trial = usual.model_copy(update={"method": usual.method.model_copy(update={"scale_fan": True})})
    inline.run(trial, folder_in(tmp_path), data_dir=None)
    path = network(folder_in(tmp_path))
    assert bitwise_equal(dict(tickets.load(path).state_dict()), states[0])
    assert verify(path) == 0
    scales = [
        param[param != 0].abs().mean() * param[0].numel() ** 0.5 for name, param in states[0].items() if param.ndim > 1
    ]
    torch.testing.assert_close(torch.stack(scales), torch.full((len(scales),), (2 / 0.5) ** 0.5))


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("iterand", {"precision": "bf16"}),
        ("weights", {"precision": "bf16"}),
        ("iterand", {"precision": "fp64"}),
        ("weights", {"precision": "fp64"}),
        ("iterand", {"channels_last": True}),
        ("weights", {"channels_last": True}),
        ("edge_popup", {"compile": False, "accumulation_steps": 2}),
        ("weights", {"evaluate_test": False}),
    ],
)
def test_other_arithmetic(
    tmp_path: Path, states: list[dict[str, Tensor]], method: str, changes: dict[str, Any]
) -> None:
    folder = folder_in(tmp_path)
    result = inline.run(tiny(method, epochs=1, **changes), folder, data_dir=None)
    path = network(folder)
    state = {name: tensor.contiguous() for name, tensor in states[0].items()}
    if method == "weights":  # kept in float32
        state = dense.rounded(state, "fp32")
    assert bitwise_equal(dict(tickets.load(path).state_dict()), state)
    assert verify(path) == 0
    for form in dense.FORMS:
        to = tmp_path / form
        assert export(path, form, to) == 0
        assert verify(to) == 0
        recorded = {stored.form: stored.metrics for stored in result.stored}.get(form)
        if method == "weights":
            assert recorded is not None
            for key, value in recorded.items():
                assert value == pytest.approx(tickets.info(to).header.metrics[key], rel=1e-6, abs=1e-9)


def test_fp32_of_a_float64_network_is_evaluated(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    inline.run(tiny("iterand", epochs=1, precision="fp64"), folder, data_dir=None)
    to = tmp_path / "fp32"
    assert export(folder, "fp32", to) == 0
    header = tickets.info(to).header
    now = Evaluator(None, torch.device("cpu")).accuracies(trial_of(to, header), tickets.load(to))
    assert {key: header.metrics[key] for key in now} == now  # the losses differ, after some digits


def test_an_export_that_finds_no_room_says_where(
    tmp_path: Path, disk: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, full = folder_in(tmp_path), disk(64)
    inline.run(tiny("edge_popup", epochs=1), folder, data_dir=None)
    fill(full)
    assert export(folder / TICKET, "fp32", full / "fp32") == 1
    assert not capsys.readouterr().err.startswith("None")


def test_a_diverged_trial_leaves_none(tmp_path: Path) -> None:
    folder, settings = folder_in(tmp_path), {"name": "weights", "lr": 1e38}
    trial = Trial.model_validate({**tiny("weights").model_dump(), "method": settings})
    result = inline.run(trial, folder, data_dir=None)
    assert (result.status, result.stored, networks(folder)) == ("diverged", [], [])


def test_a_loss_of_nan_leaves_none_whatever_the_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in EACH:
        with monkeypatch.context() as patch:
            patch.setattr(loop, "train_step", lambda *_: torch.tensor(float("nan")))
            result = inline.run(tiny(method), folder_in(tmp_path, method), data_dir=None)
        assert (result.status, result.stored, networks(tmp_path / method)) == ("diverged", [], [])


def leave(folders: dict[str, str]) -> dict[str, dict[str, Tensor]]:
    """On each of two ranks: by method, the network that it held when it was to be kept."""
    held: dict[str, dict[str, Tensor]] = {}
    save_network = network_files.save_network

    def look(run: Any, *args: Any) -> Any:
        held[run.trial.method.name] = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
        return save_network(run, *args)

    loop.network_files.save_network = look
    for method, folder in folders.items():
        with fresh_rendezvous():
            inline.run(tiny(method, epochs=1, processes=2, global_batch_size=256), Path(folder), data_dir=None)
    return held


@pytest.mark.slow
def test_two_processes_leave_the_network_of_the_first(tmp_path: Path) -> None:
    folders = {method: folder_in(tmp_path, method) for method in ("iterand", "weights")}
    held = on_ranks(2, leave, tmp_path, folders={method: str(folder) for method, folder in folders.items()})
    for method, folder in folders.items():
        assert bitwise_equal(dict(tickets.load(network(folder)).state_dict()), dict(held[0][method]))
        result = read_result(folder)
        assert result is not None and result.stored[0] == tickets.info(network(folder)).stored
        assert len(result.stored) == (len(dense.FORMS) if method == "weights" else 2)
        assert trial_processes.unexpected_files(folder) == []
        assert verify(folder, tolerance="0.006") == 0  # two shares make other batches than one


class Killed(BaseException):
    """Nothing of the trial's own code runs on."""


def killed_at(trial: Trial, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a trial until a file of it is to be moved up."""
    replace = Path.replace

    def die(path: Path, target: Path) -> Path:
        if Path(target) == folder / name:
            raise Killed
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(Killed):
            inline.run(trial, folder, data_dir=None)


@pytest.mark.parametrize("method", cases_of(EACH))
@pytest.mark.parametrize("at", ["network", RESULT])
def test_a_death_between_the_files_of_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, at: str
) -> None:
    trial, quiet, folder = tiny(method), folder_in(tmp_path, "quiet"), folder_in(tmp_path)
    inline.run(trial, quiet, data_dir=None)
    name = network(quiet).name
    killed_at(trial, folder, name if at == "network" else at, monkeypatch)
    assert (folder / name).exists() == (at == RESULT) and read_result(folder) is None
    inline.run(trial, folder, data_dir=None)
    assert trial_processes.records_of(folder) == trial_processes.records_of(quiet)
    assert network(folder).read_bytes() == network(quiet).read_bytes()
    assert trial_processes.unexpected_files(folder) == []


@pytest.mark.parametrize("method", cases_of(EACH))
@pytest.mark.parametrize("at", ["network", RESULT])
def test_a_result_that_was_published_counts_with_its_network_whatever_is_wanted_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, at: str
) -> None:
    trial, folder = tiny(method), folder_in(tmp_path)
    killed_at(trial, folder, at if at == RESULT else (DENSE if method in TRAINED else TICKET), monkeypatch)
    assert networks(folder) != []
    without = trial.model_copy(update={"keep_network": False})
    assert without.trial_id == trial.trial_id
    result = inline.run(without, folder, data_dir=None)
    assert result.stored
    assert len(networks(folder)) == 1
    assert trial_processes.unexpected_files(folder) == []
    (folder / RESULT).unlink()
    assert inline.run(without, folder, data_dir=None).stored == [] == networks(folder)


@pytest.mark.parametrize("method", cases_of(IN_AN_EPOCH))
def test_a_trial_that_is_stopped_while_its_network_is_kept(tmp_path: Path, method: str) -> None:
    """Each evaluation of a smaller form asks whether to stop: stopped at any of them, it ends with the same bits."""
    trial, quiet = tiny(method, epochs=1), folder_in(tmp_path, "quiet")
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    inline.run(trial, quiet, data_dir=None, should_stop=count)
    for last in (asked - 5, asked - 3, asked - 1):
        folder, left = folder_in(tmp_path, str(last)), iter(range(10_000))
        with pytest.raises(Stopped):
            inline.run(trial, folder, data_dir=None, should_stop=lambda left=left, last=last: next(left) >= last)
        inline.run(trial, folder, data_dir=None)
        assert trial_processes.records_of(folder) == trial_processes.records_of(quiet)
        assert trial_processes.unexpected_files(folder) == []


@pytest.mark.parametrize("method", cases_of(EACH))
def test_a_disk_that_is_full_when_the_network_is_written(
    tmp_path: Path, disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    trial, quiet = tiny(method), folder_in(tmp_path, "quiet")
    inline.run(trial, quiet, data_dir=None)
    full = disk(4000)
    folder, fillers, save_network = folder_in(full), [], network_files.save_network

    def fuller(*args: Any) -> Any:
        fillers.append(fill(full))
        return save_network(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop.network_files, "save_network", fuller)
        with pytest.raises(InputError, match=f"{os.strerror(errno.ENOSPC)}: the trial is unfinished: make room, and"):
            inline.run(trial, folder, data_dir=None)
    assert read_result(folder) is None and networks(folder) == []
    fillers[0].unlink()
    inline.run(trial, folder, data_dir=None, take_over=True)  # no room to say that we gave it back, and we live on
    assert trial_processes.records_of(folder) == trial_processes.records_of(quiet)
    assert trial_processes.unexpected_files(folder) == []


@pytest.mark.parametrize("method", cases_of(SELECTING))
def test_the_same_network_for_other_seeds_is_another(tmp_path: Path, method: str) -> None:
    contents = []
    for seed in (3, 3, 4):
        folder = folder_in(tmp_path, str(len(contents)))
        inline.run(tiny(method, epochs=1, seed=seed), folder, data_dir=None)
        contents.append(network(folder).read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_what_lies_there_of_another_kind_is_gone(tmp_path: Path) -> None:
    """A folder in which the trial once failed, with files of an earlier version."""
    folder = folder_in(tmp_path)
    for name in (TICKET, DENSE):
        (folder / name).write_bytes(b"of long ago")
    inline.run(tiny("edge_popup", epochs=1), folder, data_dir=None)
    assert not (folder / DENSE).exists()
    assert verify(folder) == 0
