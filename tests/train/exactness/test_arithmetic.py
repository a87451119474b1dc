"""Other precisions, other layouts in memory, and compiled networks."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.exactness_compare import assert_equal_trials, assert_same_steps, final_state
from support.exactness_work import ALWAYS, build_run, record, train_until_stop
from support.ranks import CPU, METHODS, settings_of, trial_of
from torch import Tensor, nn

from suite import train
from suite.records import read_metrics, read_result
from suite.train import loop, setup
from suite.train.distributed import SINGLE_PROCESS

one_method_fast = pytest.mark.parametrize(
    "method", ["iterand", *(pytest.param(each, marks=pytest.mark.slow) for each in METHODS if each != "iterand")]
)


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


@one_method_fast
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


@one_method_fast
def test_channels_last_is_another_layout_of_the_same_numbers(method: str) -> None:
    model = {"name": "conv2", "width_mult": 0.25}
    run = build_run(settings_of(method, model=model, channels_last=True), SINGLE_PROCESS)
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


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_of_narrow_networks(channels_last: bool) -> None:
    """Where oneDNN writes past its memory (its issue 6035): a crash, or other numbers here."""
    model = {"name": "resnet18", "width_mult": 0.0625}
    images = torch.rand((100, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = {}
    for precision, last in (("fp32", channels_last), ("fp64", False)):
        run = build_run(settings_of("weights", model=model, precision=precision, channels_last=last), SINGLE_PROCESS)
        run.predict(images).square().mean().backward()
        found[precision] = {name: param.grad for name, param in run.model.named_parameters()}
    for name, exact in found["fp64"].items():
        assert (found["fp32"][name] - exact).norm() < 0.02 * exact.norm()  # some pixels fall on the ReLU's other side


@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")  # torch's own, as it compiles
def test_a_compiled_network_trains_and_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    settings = settings_of("edge_popup", compile=True, global_batch_size=419, evaluate_test=False)  # 3 x 419 = 1257
    folders = [tmp_path / name for name in ("quiet", "stopped", "plain")]
    for folder in folders:
        folder.mkdir()
    torch._dynamo.utils.counters.clear()
    assert train_until_stop(settings, folders[0]) == 6
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # one of training, one of evaluation: all of it
    assert not torch._dynamo.utils.counters["graph_break"]
    assert (
        train_until_stop(settings, folders[1], stop_at="step 5")
        == "stopped at step 5; the same command resumes from there"
    )
    assert train_until_stop(settings, folders[1]) == 6
    assert_equal_trials(*folders[:2])
    assert train_until_stop({**settings, "compile": False}, folders[2]) == 6
    lines, plain = (read_metrics(folder) for folder in folders[1:])
    assert lines[1]["train/loss"] < lines[0]["train/loss"]
    assert [line["train/loss"] for line in lines] == pytest.approx([line["train/loss"] for line in plain], rel=1e-3)


@pytest.mark.parametrize(("tf32", "deterministic"), [(False, True), (True, False), (True, True), (False, False)])
def test_flags_of_rounding_and_determinism_are_those_of_the_trial(tf32: bool, deterministic: bool) -> None:
    assert setup.configure_torch(trial_of("weights", tf32=tf32, deterministic=deterministic)) == CPU
    try:
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        assert torch.backends.cudnn.allow_tf32 is tf32
        assert torch.backends.cudnn.deterministic is deterministic
        assert torch.backends.cudnn.benchmark is not deterministic
        assert not torch.are_deterministic_algorithms_enabled()  # on the CPU nothing needs it
    finally:
        setup.configure_torch(trial_of("weights"))
