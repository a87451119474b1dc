"""One trial, really trained: its records, its numbers, and that nothing of the process gets into them."""

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.evaluations import Evaluated, record_evaluations
from support.trial_processes import VOLATILE_FIELDS

from suite import data, methods, models, train
from suite.config import InputError, Trial
from suite.launch import inline
from suite.records import EpochMetrics, Result, provenance, read_failure, read_metrics, read_result, source_code
from suite.records.ledger import Ledger
from suite.train import loop, setup
from suite.train.step import train_step

METHODS = {
    "weights": {"lr": 0.02},
    "edge_popup": {"lr": 0.3, "sparsity": 0.5},
    "iterand": {"lr": 0.3, "sparsity": 0.3, "rerandomize_every": 5},
}
NUM_WEIGHTS = 36 + 144 + 1024 + 256 + 160  # 1-4-4 convolved 3x3, pooled to 4 x 4 x 4, then 64-16-16-10
NUM_BIASES = 4 + 4 + 16 + 16 + 10
NUM_PARAMS = NUM_WEIGHTS + NUM_BIASES
PRUNED = {  # round(p * (n - 1)) of each layer
    "weights": 0,
    "edge_popup": 18 + 72 + 512 + 128 + 80,  # halves to the even one
    "iterand": 10 + 43 + 307 + 76 + 48,
}
KEYS = ["epoch", "step", "timestamp", "lr", "train/loss", "val/loss", "val/top1", "sparsity"]
KEYS += ["images_per_second", "wait_share"]


def trial_of(name: str, **changes: Any) -> Trial:
    settings = {
        "dataset": {"name": "digits"},
        "model": {"name": "conv2", "width_mult": 0.0625},
        "method": {"name": name, **METHODS[name]},
        "seed": 3,
        "epochs": 2,
        "global_batch_size": 64,
    }
    return Trial.model_validate({**settings, **changes})


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in VOLATILE_FIELDS}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path, list[EpochMetrics]]]:
    """Each method once: result, folder, and the lines told while it ran."""
    runs = {}
    for method in METHODS:
        folder, told = tmp_path_factory.mktemp(method), []
        runs[method] = (train.train(trial_of(method), folder, on_epoch=told.append), folder, told)
    return runs


# Learning rate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "schedule", "expected"),
    [
        (1, {}, [0.4]),
        (4, {}, [0.4, 0.3414214, 0.2, 0.0585786]),
        (
            10,
            {"warmup_epochs": 2, "constant_epochs": 3, "constant_lr": 0.01},
            [0.2, 0.4, 0.4, 0.3618034, 0.2618034, 0.1381966, 0.0381966, 0.01, 0.01, 0.01],
        ),
        (4, {"warmup_epochs": 4}, [0.1, 0.2, 0.3, 0.4]),
        (3, {"warmup_epochs": 2, "constant_epochs": 1}, [0.2, 0.4, 0.0]),
        (2, {"constant_epochs": 2, "constant_lr": 1e-5}, [1e-5, 1e-5]),
    ],
)
def test_lr_at_each_epoch(epochs: int, schedule: dict[str, Any], expected: list[float]) -> None:
    trial = trial_of("weights", method={"name": "weights", "lr": 0.4}, epochs=epochs, schedule=schedule)
    assert [loop.lr_at(trial, epoch) for epoch in range(epochs)] == pytest.approx(expected, abs=5e-8)


def test_the_learning_rate_is_that_of_the_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[set[float]] = []

    def watch(run: setup.Run, *batch: Any) -> torch.Tensor:
        seen.append({group["lr"] for group in run.optimizer.param_groups})
        return train_step(run, *batch)

    monkeypatch.setattr(loop, "train_step", watch)
    trial = trial_of("edge_popup", epochs=3, schedule={"warmup_epochs": 1, "constant_epochs": 1, "constant_lr": 0.07})
    train.train(trial, tmp_path)
    assert seen == 40 * [{0.3}] + 20 * [{0.07}]
    assert [line["lr"] for line in read_metrics(tmp_path)] == [0.3, 0.3, 0.07]


# Records ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_lines_of_metrics(ran: dict[str, Any], method: str) -> None:
    result, folder, told = ran[method]
    lines = read_metrics(folder)
    assert lines == told
    assert all(list(line) == KEYS for line in lines)
    assert len(lines) == 2
    first, last = lines
    assert (first["epoch"], last["epoch"]) == (0, 1)
    assert (first["step"], last["step"]) == (20, 40)  # 1257 images in batches of 64, the short one included
    assert result.started_at < first["timestamp"] < last["timestamp"] < time.time()
    assert last["train/loss"] < first["train/loss"]
    assert all(0 <= line["val/top1"] <= 1 and line["images_per_second"] > 0 for line in lines)
    assert last["sparsity"] == pytest.approx(PRUNED[method] / NUM_WEIGHTS)


@pytest.mark.parametrize("method", METHODS)
def test_the_result(ran: dict[str, Any], method: str) -> None:
    result, folder, _ = ran[method]
    trial = trial_of(method)
    assert read_result(folder) == result
    network = "network.safetensors" if method == "weights" else "network.ticket"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.jsonl", network, "result.json"]
    assert (result.status, result.trial_id) == ("done", trial.trial_id)
    assert Trial.model_validate(result.config) == trial
    assert (result.num_epochs, result.num_updates, result.num_classes) == (2, 40, 10)
    last = read_metrics(folder)[-1]
    assert {key: result.metrics[key] for key in ("train/loss", "val/loss", "val/top1")} == {
        key: last[key] for key in ("train/loss", "val/loss", "val/top1")
    }
    assert result.metrics.keys() == {"train/loss", "val/loss", "val/top1", "test/loss", "test/top1"}
    assert 0 < result.seconds < 60
    assert 10 < result.peak_memory_mb < 1e5


@pytest.mark.parametrize("method", METHODS)
def test_parameters_and_bytes_against_hand_counts(ran: dict[str, Any], method: str) -> None:
    result, *_ = ran[method]
    assert result.params_total == NUM_PARAMS == 1670
    assert result.params_kept == NUM_PARAMS - PRUNED[method]
    if method == "weights":  # weight, gradient, momentum: biases too
        assert result.state_bytes_per_weight == 12
    else:  # weight, gradient, theta, score, momentum; biases are not trained
        expected = (20 * NUM_WEIGHTS + 4 * NUM_BIASES) / NUM_PARAMS
        assert result.state_bytes_per_weight == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_predictions_give_the_test_accuracy(ran: dict[str, Any], method: str) -> None:
    result, *_ = ran[method]
    labels = data.load(trial_of(method).dataset, data_dir=None, device="cpu").test.labels.tolist()
    assert len(result.test_predictions) == len(labels) == 360
    correct = [told == label for told, label in zip(result.test_predictions, labels, strict=True)]
    assert result.metrics["test/top1"] == sum(correct) / 360
    assert sum(correct) > 36  # better than chance, even after two epochs
    assert bin(int("1" + result.test_correct, 16))[3:] == "".join(str(int(right)) for right in correct)


def test_where_the_numbers_come_from(ran: dict[str, Any]) -> None:
    result, *_ = ran["weights"]
    assert result.data_id == data.load(trial_of("weights").dataset, data_dir=None, device="cpu").data_id
    assert result.code_id == source_code.code_id()
    assert {"python", "torch", "numpy"} <= result.versions.keys()
    assert result.versions["torch"] == torch.__version__
    assert result.host
    assert result.device
    assert len({ran[method][0].code_id for method in ran}) == 1


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    return record_evaluations(monkeypatch)


@pytest.mark.parametrize("evaluate_test", [True, False])
def test_the_test_split_is_looked_at_once_or_never(evaluated: Evaluated, tmp_path: Path, evaluate_test: bool) -> None:
    result = train.train(trial_of("iterand", evaluate_test=evaluate_test), tmp_path)
    assert [split for split, _ in evaluated] == ["val", "val", "test"][: 2 + evaluate_test]
    assert all(map(torch.equal, evaluated[1][1], evaluated[-1][1]))  # with the weights of the last epoch
    assert (result.test_predictions is not None) == evaluate_test
    assert {key for key in result.metrics if key.startswith("test")} == (
        {"test/top1", "test/loss"} if evaluate_test else set()
    )


def test_the_loop_against_one_written_out(tmp_path: Path) -> None:
    """A net with batch norm, so that it matters in which mode it trains and is evaluated."""
    model = {"name": "resnet18", "width_mult": 0.0625}
    trial = trial_of("weights", model=model, global_batch_size=100, schedule={"warmup_epochs": 1})
    result = train.train(trial, tmp_path)
    arrays = data.load(trial.dataset, data_dir=None, device="cpu")
    net = models.build("resnet18", num_classes=10, image_size=8, in_channels=1, width_mult=0.0625)
    optimizer = methods.get("weights")(net.parameters(), lr=0.02, seed=3)  # both epochs have the full rate
    for epoch, line in enumerate(read_metrics(tmp_path)):
        net.train()
        losses = []
        for images, labels in arrays.train_batches(3, epoch, 100):
            optimizer.zero_grad()
            each = F.cross_entropy(net(images), labels, reduction="none")
            each.mean().backward()
            optimizer.step()
            losses += each.tolist()
        assert len(losses) == 1257
        net.eval()
        for split in ("val", "test"):
            ((images, labels),) = arrays.batches(split, 10_000)
            with torch.no_grad():
                logits = net(images)
            top1 = (logits.argmax(1) == labels).double().mean().item()
            expected = {f"{split}/loss": F.cross_entropy(logits, labels).item(), f"{split}/top1": top1}
            found = line if split == "val" else result.metrics
            if split == "val" or epoch == 1:
                assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-5)
        assert line["train/loss"] == pytest.approx(sum(losses) / 1257, rel=1e-5)


# Equal numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_inherited_from_the_process(ran: dict[str, Any], method: str, tmp_path: Path) -> None:
    first, folder, _ = ran[method]
    torch.set_num_threads(2)
    torch.manual_seed(99)
    torch.rand(3)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    second = train.train(trial_of(method), tmp_path)
    assert without_times(second.model_dump()) == without_times(first.model_dump())
    pairs = zip(read_metrics(folder), read_metrics(tmp_path), strict=True)
    assert all(without_times(one) == without_times(other) for one, other in pairs)
    assert torch.get_num_threads() == 1
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.benchmark
    assert torch.initial_seed() == trial_of(method).seed


def test_another_seed_gives_other_numbers(ran: dict[str, Any], tmp_path: Path) -> None:
    first, *_ = ran["iterand"]
    other = train.train(trial_of("iterand", seed=4), tmp_path)
    assert other.metrics["train/loss"] != first.metrics["train/loss"]
    assert other.test_predictions != first.test_predictions


def test_threads_are_those_of_the_trial() -> None:
    assert setup.configure_torch(trial_of("weights", threads=2)) == torch.device("cpu")
    assert torch.get_num_threads() == 2


def test_the_peak_of_memory_is_that_of_the_trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []
    monkeypatch.setattr(provenance, "reset_peak_memory", seen.append)
    train.train(trial_of("weights", epochs=1), tmp_path)
    assert seen == [torch.device("cpu")]


# Trials that go wrong -----------------------------------------------------------------------------------------------


def test_a_trial_that_diverges_ends_with_its_records(tmp_path: Path) -> None:
    trial = trial_of("weights", method={"name": "weights", "lr": 1e12}, epochs=5)
    ledger = Ledger(tmp_path)
    ledger.folder(trial.trial_id).mkdir(parents=True)
    result = train.train(trial, ledger.folder(trial.trial_id))
    assert ledger.state(trial) == result.status == "diverged"
    assert ledger.result(trial) == result
    assert result.num_epochs < 5
    lines = read_metrics(ledger.folder(trial.trial_id))
    assert len(lines) == result.num_epochs
    assert lines[-1]["train/loss"] is result.metrics["train/loss"] is None
    assert result.test_predictions is None
    assert "test/top1" not in result.metrics


def test_a_last_update_that_ruins_the_network_is_divergence(tmp_path: Path) -> None:
    method = {"name": "weights", "lr": 1e30}
    result = train.train(trial_of("weights", method=method, epochs=1, global_batch_size=2000), tmp_path)
    assert math.isfinite(result.metrics["train/loss"] or math.nan)  # of the one batch, before the one update
    assert result.metrics["val/loss"] is None
    assert result.status == "diverged"


def test_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"^resources.gpus: 1\.0: torch .* sees no GPU here; set 0$"):
        train.train(trial_of("weights", resources={"gpus": 1}), tmp_path)
    assert not list(tmp_path.iterdir())


def fail(line: EpochMetrics) -> None:
    if line["epoch"] == 1:
        raise RuntimeError("in the second epoch")


def test_a_trial_that_raises_leaves_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in the second epoch"):
        inline.run(trial_of("weights"), tmp_path, data_dir=None, on_epoch=fail)
    failure = read_failure(tmp_path)
    assert failure is not None
    assert failure.error == "RuntimeError: in the second epoch"
    assert read_result(tmp_path) is None


def test_a_trial_that_raises_keeps_its_epochs(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        inline.run(trial_of("weights"), tmp_path, data_dir=None, on_epoch=fail)
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [0, 1]


# Norms --------------------------------------------------------------------------------------------------------------

NUM_NORMS = 64 + 5 * 4 + 5 * 8 + 5 * 16 + 5 * 32  # channels: the stem, then four norms and one of a shortcut a stage


@pytest.mark.parametrize(
    ("method", "norm_affine", "affine"),
    [("weights", None, True), ("edge_popup", None, False), ("weights", False, False), ("edge_popup", True, True)],
)
def test_norms_are_affine_by_default_where_weights_are_trained(
    tmp_path: Path, method: str, norm_affine: bool | None, affine: bool
) -> None:
    model = {"name": "resnet18", "width_mult": 0.0625, "norm_affine": norm_affine}
    result = train.train(trial_of(method, model=model, epochs=1), tmp_path)
    assert result.status == "done"
    num_weights = 46906 - 10  # the head's biases aside
    extra = 10 + 2 * NUM_NORMS * affine
    assert result.params_total == num_weights + extra
    assert (result.params_kept == result.params_total) == (method == "weights")
    assert result.params_kept - extra == pytest.approx(num_weights * (1 if method == "weights" else 0.5), rel=1e-3)
    assert Trial.model_validate(result.config).model.norm_affine is norm_affine
