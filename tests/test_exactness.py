"""How far one process, several, parts of a batch, and other precisions are the same computation.

The record of some steps is made by the same function here and on ranks; what must be equal is held against one process.
"""

import gc
import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ranks import CPU, METHODS, joined, meeting, on_ranks, settings_of, trial_of, without_times
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from suite import checkpoint, data, distributed, train
from suite.config import InputError, Trial
from suite.data.arrays import ArrayData
from suite.data.sources import Source
from suite.distributed import ALONE, Group, Place
from suite.launch import local
from suite.records import read_metrics, read_result
from suite.stopping import Stopped
from suite.train import keeper, loop, setup
from suite.train.step import train_step

MASKED = [method for method in METHODS if method != "weights"]
WIDER = {"name": "conv2", "width_mult": 0.5}  # 105 thousand weights
RESNET = {"name": "resnet18", "width_mult": 0.0625}
EXACT = {"precision": "fp64"}
ONE_LEFT = 314  # of 1257 digits: four batches, and a last one of one image

# The first steps of a trial -----------------------------------------------------------------------------------------


def batches(run: setup.Run) -> Iterator[tuple[Tensor, Tensor, int]]:
    """The shares of this rank and the size of the whole batch, epoch after epoch."""
    size, num, group = run.trial.global_batch_size, len(run.data.train), run.group
    for epoch in itertools.count():
        shares = run.data.train_batches(run.trial.seed, epoch, size, rank=group.rank, world_size=group.world_size)
        for number, (images, labels) in enumerate(shares):
            yield images, labels, min(size, num - number * size)


def built(settings: dict[str, Any], group: Group, arrays: ArrayData | None = None) -> setup.Run:
    trial = Trial.model_validate(settings)
    device = setup.settle(trial, Place(group.rank, group.rank, group.world_size))
    run = setup.build(trial, arrays or data.load(trial.dataset, data_dir=None, device=device), device, group)
    run.network.train()
    return run


def masks_of(run: setup.Run) -> Tensor:
    """All mask bits, in the order of the weights."""
    params = [param for group in run.optimizer.param_groups for param in group["params"]]
    masked = [run.optimizer.mask(param).contiguous().flatten() for param in params] if run.optimizer.masked else []
    return torch.cat([torch.zeros(0, dtype=torch.bool), *masked])


def thetas_of(run: setup.Run) -> bytes:
    """The weights under the masks: a redraw changes them."""
    states = run.optimizer.state.values() if run.optimizer.masked else ()
    return b"".join(state["theta"].contiguous().numpy().tobytes() for state in states)


def record(settings: dict[str, Any], num_steps: int, group: Group = ALONE) -> dict[str, Any]:
    """After each step a hash of the masks, one of the weights under them, and the mean loss; at the end what there is.

    "masks at the end" are the mask bits, "params" the effective parameters.
    """
    run = built(settings, group)
    found: dict[str, Any] = {"masks": [], "thetas": [], "losses": []}
    for images, labels, count in itertools.islice(batches(run), num_steps):
        loss = train_step(run, images, labels, count)
        found["losses"].append(float(group.sum_(loss)) / count)
        found["masks"].append(hashlib.sha256(masks_of(run).numpy().tobytes()).hexdigest())
        found["thetas"].append(hashlib.sha256(thetas_of(run)).hexdigest())
    found["masks at the end"] = masks_of(run)
    found["params"] = {name: param.detach().clone() for name, param in run.model.named_parameters()}
    return found


def by_two(jobs: dict[str, tuple[dict[str, Any], int]], folder: str) -> dict[str, Any]:
    """``record`` of each job as one of several ranks, the statistics of a norm, and one trial from end to end."""
    found: dict[str, Any] = {}
    for name, (settings, num_steps) in jobs.items():
        with joined() as group:
            found[name] = record(settings, num_steps, group)
    with joined() as group:
        found["norms"] = norms(group)
    with meeting():
        train.train(Trial.model_validate(WHOLE), Path(folder))
    return found


def norms(group: Group) -> list[dict[str, Tensor]]:
    """Two steps of a network with batch norm: the loss of this rank, and its first convolution and norm.

    ``weight`` is what the batch met; the statistics are those after the step, ``shared`` after ``share_buffers``.
    """
    run = built(settings_of("weights", model=RESNET, processes=group.world_size, **EXACT), group)
    convolution, norm = run.model.get_submodule("stem.0.0"), run.model.get_submodule("stem.0.1")
    found = []
    for images, labels, count in itertools.islice(batches(run), 2):
        step = {"weight": convolution.weight.detach().clone()}
        step["loss"] = train_step(run, images, labels, count)
        found.append(step | {name: buffer.clone() for name, buffer in norm.named_buffers()})
    group.share_buffers(run.model)
    found.append({name: buffer.clone() for name, buffer in norm.named_buffers()})
    return found


JOBS: dict[str, tuple[dict[str, Any], int]] = {
    **{f"fp64 {method}": (settings_of(method, processes=2, **EXACT), 50) for method in METHODS},
    **{f"fp32 {method}": (settings_of(method, processes=2, model=WIDER), 100) for method in MASKED},
    **{
        f"{parts} parts": (settings_of("iterand", processes=2, accumulation_steps=parts, **EXACT), 25)
        for parts in (2, 4)
    },
    **{
        f"one left {method}": (settings_of(method, processes=2, global_batch_size=ONE_LEFT, **EXACT), 15)
        for method in METHODS
    },
    "one left in parts": (
        settings_of("iterand", processes=2, global_batch_size=628, accumulation_steps=2, **EXACT),
        12,
    ),
}


WHOLE = settings_of("iterand", model=RESNET, processes=2, global_batch_size=316)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``pair`` leaves the records of WHOLE."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, whole: Path) -> list[dict[str, Any]]:
    """What 2 processes make of every job, by rank."""
    return on_ranks(2, by_two, tmp_path_factory.mktemp("pair"), jobs=JOBS, folder=str(whole))


def alone(name: str, **changes: Any) -> dict[str, Any]:
    settings, num_steps = JOBS[name]
    return record({**settings, "processes": 1, "accumulation_steps": 1, **changes}, num_steps)


def assert_same_steps(found: dict[str, Any], expected: dict[str, Any], *, steps: int | None = None) -> None:
    assert found["masks"][:steps] == expected["masks"][:steps]
    assert found["thetas"][:steps] == expected["thetas"][:steps]
    if steps is None:
        assert found["losses"] == pytest.approx(expected["losses"], rel=0, abs=1e-10)
        for name, param in expected["params"].items():
            torch.testing.assert_close(found["params"][name], param, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_do_the_steps_of_one_in_double_precision(pair: list[dict[str, Any]], method: str) -> None:
    expected = alone(f"fp64 {method}")
    assert len(expected["losses"]) == 50
    assert len(set(expected["masks"])) > (1 if method == "weights" else 40) - 1  # they do change
    assert len(set(expected["thetas"])) == (10 + 1 if method == "iterand" else 1)  # by a redraw at every 5th step
    for rank in pair:
        assert_same_steps(rank[f"fp64 {method}"], expected)
    assert pair[0][f"fp64 {method}"]["losses"] != expected["losses"]  # they were added up in another order


@pytest.mark.parametrize("method", MASKED)
def test_two_processes_choose_the_masks_of_one_at_first(
    pair: list[dict[str, Any]], method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = alone(f"fp32 {method}")
    for rank in pair:
        found = rank[f"fp32 {method}"]
        assert_same_steps(found, expected, steps=20)
        assert found["losses"][:20] == pytest.approx(expected["losses"][:20], rel=1e-5)
    differing = expected["masks at the end"] != pair[0][f"fp32 {method}"]["masks at the end"]
    equal = sum(map(str.__eq__, expected["masks"], pair[0][f"fp32 {method}"]["masks"]))
    with capsys.disabled():
        print(
            f"\n{method}, fp32, 2 processes against 1: masks are equal after {equal} of 100 steps; "
            f"after step 100 {differing.double().mean():.3%} of {len(differing)} mask bits differ"
        )


@pytest.mark.parametrize("name", JOBS)
def test_ranks_have_equal_bits(pair: list[dict[str, Any]], name: str) -> None:
    first, second = (rank[name] for rank in pair)
    assert first.keys() == second.keys()
    for key in ("masks", "thetas", "losses"):
        assert first[key] == second[key]
    for param, value in first["params"].items():
        assert torch.equal(value, second["params"][param])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_do_the_step_of_the_whole(method: str, parts: int) -> None:
    expected = record(settings_of(method, **EXACT), 20)  # the 20th is a batch of 41 images
    found = record(settings_of(method, accumulation_steps=parts, **EXACT), 20)
    assert_same_steps(found, expected)
    assert found["losses"] != expected["losses"]  # they were added up in another order


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_the_shares_of_two_processes_do_the_step_of_the_whole(pair: list[dict[str, Any]], parts: int) -> None:
    for rank in pair:
        assert_same_steps(rank[f"{parts} parts"], alone(f"{parts} parts"))


@pytest.mark.parametrize("name", [name for name in JOBS if name.startswith("one left")])
def test_a_rank_without_an_image_in_the_last_batch(pair: list[dict[str, Any]], name: str) -> None:
    expected = alone(name)
    for rank in pair:
        assert_same_steps(rank[name], expected)


# Batch norm ---------------------------------------------------------------------------------------------------------


def test_statistics_of_norms_are_of_the_own_share_and_kept_are_those_of_rank_0(pair: list[dict[str, Any]]) -> None:
    trial = trial_of("weights", model=RESNET, **EXACT)
    arrays = data.load(trial.dataset, data_dir=None, device=CPU)
    rank_0 = nn.BatchNorm2d(64, affine=False, dtype=torch.float64)
    for number, (images, labels) in enumerate(itertools.islice(arrays.train_batches(3, 0, 64), 2)):
        before = rank_0.state_dict()
        kept = {name: value.clone() for name, value in before.items()}
        for rank in (1, 0):  # rank 0 last: its statistics are those that the next step begins with
            step = pair[rank]["norms"][number]
            share = images[rank::2].double()
            rank_0.load_state_dict(kept)
            rank_0(F.conv2d(share, step["weight"], padding=1))
            for name, buffer in rank_0.named_buffers():
                torch.testing.assert_close(step[name], buffer, rtol=1e-12, atol=1e-12)
            if number == 0:  # nothing is trained yet: the whole network can be made again
                network = built(settings_of("weights", model=RESNET, **EXACT), ALONE).model
                loss = F.cross_entropy(network(share), labels[rank::2], reduction="sum")
                assert step["loss"].item() == pytest.approx(loss.item(), rel=1e-12)
        first, second = (pair[rank]["norms"][number]["running_mean"] for rank in range(2))
        assert not torch.allclose(first, second, rtol=1e-3)
    assert rank_0.num_batches_tracked == 2  # the first pass of ``Group.wrap`` left no trace
    for rank in pair:
        for name, buffer in pair[0]["norms"][1].items():
            if name not in ("weight", "loss"):
                assert torch.equal(rank["norms"][2][name], buffer)


def tiny(num_train: int) -> ArrayData:
    """Images of 16 pixels, which resnets shrink to 2: one image has a variance there."""
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (num_train + 2, 1, 16, 16), dtype=np.uint8)
    index = np.arange(num_train + 2)
    splits = {"train": index[:num_train], "val": index[-2:-1], "test": index[-1:]}
    source = Source(images, numbers.integers(0, 10, num_train + 2), splits, num_classes=10)
    return ArrayData.build(source, augment="none", device=CPU)


SMALL = settings_of("weights", model=RESNET, processes=4, global_batch_size=16, **EXACT)
FEWER = {"3 left": 2 * 16 + 3, "1 left": 16 + 1}  # training images: some ranks have none in the last batch


def shares_left_empty(num_train: int) -> dict[str, Tensor]:
    """An epoch of a network with batch norm as one of 4 ranks: what it has then."""
    with joined() as group:
        return an_epoch_of(num_train, group)


def an_epoch_of(num_train: int, group: Group) -> dict[str, Tensor]:
    run = built(SMALL, group, tiny(num_train))
    for images, labels, count in itertools.islice(batches(run), -(-num_train // 16)):
        train_step(run, images, labels, count)
    group.share_buffers(run.model)
    return {name: value.clone() for name, value in run.model.state_dict().items()}


@pytest.mark.parametrize("name", FEWER)
def test_ranks_without_an_image_in_a_network_with_batch_norm(four: Any, name: str) -> None:
    """Against one process that goes through the shares one after the other, each with statistics of its own."""
    run = built({**SMALL, "processes": 1}, ALONE, tiny(FEWER[name]))
    norms = dict(run.model.named_buffers())
    for images, labels, count in itertools.islice(batches(run), -(-FEWER[name] // 16)):
        run.optimizer.zero_grad()
        before = {name: value.clone() for name, value in norms.items()}
        for rank in (3, 2, 1, 0):
            for buffer, value in before.items():
                norms[buffer].copy_(value)  # rank 0, the last one here, leaves its statistics
            if rank < len(labels):
                logits = run.model(images[rank::4].double())
                (F.cross_entropy(logits, labels[rank::4], reduction="sum") / count).backward()
        run.optimizer.step()
    for rank in four[1]:
        for key, value in run.model.state_dict().items():
            torch.testing.assert_close(rank[name][key], value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("changes", [{"global_batch_size": 628}, {"global_batch_size": 6, "accumulation_steps": 3}])
def test_a_share_of_one_image_that_batch_norm_cannot_take_is_an_input_error(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Of 8 pixels resnets make 1. The last batches hold 1 image, and 3 of which a part has 1."""
    trial = trial_of("weights", model=RESNET, **changes)
    with pytest.raises(InputError, match=rf"^global_batch_size: {trial.global_batch_size}: "):
        train.train(trial, tmp_path)
    assert not list(tmp_path.iterdir())  # before anything is run


# Stopped and gone on with ---------------------------------------------------------------------------------------------

ALWAYS = {"every_seconds": 0.0, "max_time_share": 1.0}  # a checkpoint at every step, and at the end
FOURS: dict[str, dict[str, Any]] = {
    "weights, resnet18": settings_of("weights", model=RESNET, processes=4, global_batch_size=316),
    "weights, conv2": settings_of("weights", processes=4, global_batch_size=316),
    "iterand, conv2": settings_of(
        "iterand", processes=4, global_batch_size=312, accumulation_steps=2, precision="bf16", channels_last=True
    ),
}
STOPS = ("step 3", "evaluation", "step 1")  # of each attempt: in the first epoch, after it, and in the second
DONE = "step 1000000"


def trained(settings: dict[str, Any], folder: Path, *, stop_at: str = DONE) -> int | str:
    """Train until one rank asks for a stop: steps done, or how it was stopped."""
    trial = Trial.model_validate({**settings, "checkpoint": ALWAYS})
    reached = {"step": 0, "evaluation": 0}

    def count(what: str, function: Callable[..., Any]) -> Any:
        def counted(*args: Any, **options: Any) -> Any:
            reached[what] += 1
            return function(*args, **options)

        return mock.patch.object(loop, function.__name__, counted)

    def should_stop() -> bool:
        what, _, number = stop_at.partition(" ")
        return distributed.started_as().rank == trial.processes - 1 and reached[what] == int(number or 1)

    with count("step", loop.train_step), count("evaluation", loop.evaluate):
        try:
            return train.train(trial, folder, should_stop=should_stop).num_updates
        except Stopped as stopped:
            return str(stopped)


def networks_at_the_end(folder: Path) -> list[int]:
    """How many networks with an exchange of gradients there still are, each time the group of a trial is ended."""
    found, end = [], torch.distributed.destroy_process_group

    def watch(*args: Any) -> None:
        found.append(sum(isinstance(thing, DistributedDataParallel) for thing in gc.get_objects()))
        end(*args)

    folder.mkdir(exist_ok=True)
    with meeting(), mock.patch.object(torch.distributed, "destroy_process_group", watch):
        train.train(Trial.model_validate(FOURS["weights, conv2"]), folder)
    return found


def by_four(folder: str, jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each trial without a stop, and with several: how each attempt ended. And networks after short last batches."""
    keeper._MOST_SECONDS = 0  # ranks ask each other at every step
    ended: dict[str, Any] = {name: shares_left_empty(num_train) for name, num_train in FEWER.items()}
    ended["networks at the end"] = networks_at_the_end(Path(folder, "ended"))
    for name, settings in jobs.items():
        ended[name] = []
        for kind, stops in (("quiet", (DONE,)), ("stopped", (*STOPS, DONE))):
            path = Path(folder, name, kind)
            path.mkdir(parents=True, exist_ok=True)
            for stop_at in stops:
                with meeting():
                    ended[name].append(trained(settings, path, stop_at=stop_at))
    return ended


def final_state(folder: Path) -> dict[str, Any]:
    """What the last checkpoint of a trial holds, but for times: scores and momenta show what a loss may hide."""
    state = checkpoint.unpack(max(folder.glob("checkpoint-*.pt")).read_bytes().split(b"\n", 2)[2][:-32])
    progress = state.pop("progress")
    lines = [without_times(line) for line in progress["lines"]]
    return {**state, "lines": lines, "num_updates": progress["num_updates"]}


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two nested records differ, tensors by bits and types."""
    if isinstance(one, Tensor):
        same = isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [where]
    if isinstance(one, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for number, pair in pairs for found in differences(*pair, f"{where}/{number}")]
    return [] if one == other else [where]


def assert_equal_trials(one: Path, other: Path) -> None:
    assert differences(final_state(one), final_state(other)) == []
    assert_equal_records(one, other)


def assert_equal_records(one: Path, other: Path) -> None:
    results = [read_result(folder) for folder in (one, other)]
    first, second = (without_times(result.model_dump()) for result in results if result)
    assert first == second
    first_lines, second_lines = ([without_times(line) for line in read_metrics(folder)] for folder in (one, other))
    assert first_lines == second_lines
    assert len(first_lines) == 2


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What 4 processes make of FOURS and FEWER: the folder of their records, and what they returned."""
    folder = tmp_path_factory.mktemp("four")
    return folder, on_ranks(4, by_four, folder, folder=str(folder), jobs=FOURS)


@pytest.mark.parametrize("name", FOURS)
def test_a_trial_of_four_processes_stopped_in_an_epoch_goes_on_bit_for_bit(four: Any, name: str) -> None:
    folder, ended = four
    total = 2 * -(-1257 // FOURS[name]["global_batch_size"])
    steps = [3, total // 2, total // 2 + 1]  # in the first epoch, in the evaluation after it, in the second epoch
    expected = [total, *(f"stopped at step {step}; the same command goes on from there" for step in steps), total]
    assert [rank[name] for rank in ended] == [expected] * 4
    assert_equal_trials(folder / name / "quiet", folder / name / "stopped")


def test_all_ranks_evaluate_with_the_statistics_of_rank_0(four: Any) -> None:
    """Those in the last checkpoint; rank 0 alone cannot tell, so all images go through them here."""
    folder, _ = four
    run = built({**FOURS["weights, resnet18"], "processes": 1}, ALONE)
    run.model.load_state_dict(final_state(folder / "weights, resnet18" / "quiet")["model"])
    run.model.eval()
    result = read_result(folder / "weights, resnet18" / "quiet")
    assert result is not None
    images = (run.data.test.images - run.data.mean) / run.data.std
    with torch.no_grad():
        logits = run.model(images)
    assert result.test_predictions == logits.argmax(1).tolist()
    assert result.metrics["test/loss"] == pytest.approx(F.cross_entropy(logits, run.data.test.labels).item(), rel=1e-5)


def test_a_network_is_gone_before_its_group(four: Any) -> None:
    """Torch waits for ever, now and then, where a network is the last that knows the group (by hand: 1 trial in 20)."""
    assert [rank["networks at the end"] for rank in four[1]] == [[0]] * 4


@pytest.mark.usefixtures("pair")
def test_two_processes_give_the_same_trial_twice(whole: Path, tmp_path: Path) -> None:
    local.run(Trial.model_validate(WHOLE), tmp_path, data_dir=None)
    assert_equal_records(tmp_path, whole)


# Other arithmetic -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, Any, Any]]:
    """Of every evaluation of the test split: the network, the data and what was found."""
    seen, evaluate = [], loop.evaluate

    def watch(predict: Any, arrays: Any, split: Any, **options: Any) -> Any:
        found = evaluate(predict, arrays, split, **options)
        if split == "test":
            seen.append((predict.__self__.model, arrays, found))
        return found

    monkeypatch.setattr(loop, "evaluate", watch)
    return seen


@pytest.mark.parametrize("method", METHODS)
def test_bf16_is_autocast_over_float32(method: str, tmp_path: Path, tested: list[Any]) -> None:
    folders = [tmp_path / name for name in ("first", "second", "fp32")]
    for folder in folders:
        folder.mkdir()
        precision = "fp32" if folder.name == "fp32" else "bf16"
        train.train(trial_of(method, precision=precision, checkpoint=ALWAYS), folder)
    result = read_result(folders[0])
    assert result is not None
    assert (result.status, result.config["precision"]) == ("done", "bf16")
    losses = [line["train/loss"] for line in read_metrics(folders[0])]
    assert losses[1] < losses[0] - 0.01
    assert losses != [line["train/loss"] for line in read_metrics(folders[2])]
    assert_equal_trials(folders[0], folders[1])

    network, arrays, found = tested[0]
    network.eval()
    images = (arrays.test.images - arrays.mean) / arrays.std
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    assert logits.dtype == torch.bfloat16
    with torch.no_grad():
        full = network(images)
    by_hand, in_full = (F.cross_entropy(each.float(), arrays.test.labels).item() for each in (logits, full))
    assert found.loss == pytest.approx(by_hand, rel=1e-6)
    assert found.loss != pytest.approx(in_full, rel=1e-6)
    assert {param.dtype for param in network.parameters()} == {torch.float32}
    state = final_state(folders[0])["optimizer"]["state"]
    assert {value.dtype for kept in state.values() for value in kept.values()} == {torch.float32}


@pytest.mark.parametrize("method", METHODS)
def test_channels_last_is_another_layout_of_the_same_numbers(method: str) -> None:
    model = {"name": "conv2", "width_mult": 0.25}
    run = built(settings_of(method, model=model, channels_last=True), ALONE)
    kernels = [param for param in run.model.parameters() if param.ndim == 4]
    assert len(kernels) == 2
    assert all(param.is_contiguous(memory_format=torch.channels_last) for param in kernels)
    assert not kernels[1].is_contiguous()
    states = [value for value in run.optimizer.state[kernels[1]].values() if isinstance(value, Tensor)]
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in states)
    assert run.prepared(torch.zeros(2, 3, 8, 8)).is_contiguous(memory_format=torch.channels_last)

    for precision, steps in (("fp64", None), ("fp32", 10)):
        settings = settings_of(method, model=model, precision=precision)
        found, expected = (record({**settings, "channels_last": last}, 20) for last in (True, False))
        assert_same_steps(found, expected, steps=steps)
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, with which torch.compile builds its kernels")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")  # torch's own, as it compiles
def test_a_compiled_network_trains_and_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    settings = settings_of("edge_popup", compile=True, global_batch_size=419, evaluate_test=False)  # 3 x 419 = 1257
    folders = [tmp_path / name for name in ("quiet", "stopped", "plain")]
    for folder in folders:
        folder.mkdir()
    torch._dynamo.utils.counters.clear()
    assert trained(settings, folders[0]) == 6
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # one of training, one of evaluation: all of it
    assert not torch._dynamo.utils.counters["graph_break"]
    assert trained(settings, folders[1], stop_at="step 5") == "stopped at step 5; the same command goes on from there"
    assert trained(settings, folders[1]) == 6
    assert_equal_trials(*folders[:2])
    assert trained({**settings, "compile": False}, folders[2]) == 6
    lines, plain = (read_metrics(folder) for folder in folders[1:])
    assert lines[1]["train/loss"] < lines[0]["train/loss"]
    assert [line["train/loss"] for line in lines] == pytest.approx([line["train/loss"] for line in plain], rel=1e-3)


@pytest.mark.parametrize(("tf32", "deterministic"), [(False, True), (True, False), (True, True), (False, False)])
def test_flags_of_rounding_and_determinism_are_those_of_the_trial(tf32: bool, deterministic: bool) -> None:
    assert setup.settle(trial_of("weights", tf32=tf32, deterministic=deterministic)) == CPU
    try:
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        assert torch.backends.cudnn.allow_tf32 is tf32
        assert torch.backends.cudnn.deterministic is deterministic
        assert torch.backends.cudnn.benchmark is not deterministic
        assert not torch.are_deterministic_algorithms_enabled()  # on the CPU nothing needs it
    finally:
        setup.settle(trial_of("weights"))
