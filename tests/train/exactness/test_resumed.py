"""Trials of several processes: stopped and gone on with, and run twice."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.exactness_compare import assert_equal_records, assert_equal_trials, final_state
from support.exactness_work import FOUR_RANK_TRIALS, FULL_TRIAL, build_run

from suite.config import Trial
from suite.launch import local
from suite.records import read_result
from suite.train.distributed import SINGLE_PROCESS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FOUR_RANK_TRIALS)
def test_a_trial_of_four_processes_stopped_in_an_epoch_goes_on_bit_for_bit(four_rank_results: Any, name: str) -> None:
    folder, ended = four_rank_results
    total = 2 * -(-1257 // FOUR_RANK_TRIALS[name]["global_batch_size"])
    steps = [3, total // 2, total // 2 + 1]  # in the first epoch, in the evaluation after it, in the second epoch
    expected = [total, *(f"stopped at step {step}; the same command resumes from there" for step in steps), total]
    assert [rank[name] for rank in ended] == [expected] * 4
    assert_equal_trials(folder / name / "quiet", folder / name / "stopped")


def test_all_ranks_evaluate_with_the_statistics_of_rank_0(four_rank_results: Any) -> None:
    """Those in the last checkpoint; rank 0 alone cannot tell, so all images go through them here."""
    folder, _ = four_rank_results
    run = build_run({**FOUR_RANK_TRIALS["weights, resnet18"], "processes": 1}, SINGLE_PROCESS)
    run.model.load_state_dict(final_state(folder / "weights, resnet18" / "quiet")["model"])
    run.model.eval()
    result = read_result(folder / "weights, resnet18" / "quiet")
    assert result is not None
    images = (run.data.test.images - run.data.mean) / run.data.std
    with torch.no_grad():
        logits = run.model(images)
    assert result.test_predictions == logits.argmax(1).tolist()
    assert result.metrics["test/loss"] == pytest.approx(F.cross_entropy(logits, run.data.test.labels).item(), rel=1e-5)


def test_a_network_is_gone_before_its_group(four_rank_results: Any) -> None:
    """Torch waits for ever, now and then, where a network is the last that knows the group (by hand: 1 trial in 20)."""
    assert [rank["networks at the end"] for rank in four_rank_results[1]] == [[0]] * 4


@pytest.mark.usefixtures("two_rank_results")
def test_two_processes_give_the_same_trial_twice(whole: Path, tmp_path: Path) -> None:
    local.run(Trial.model_validate(FULL_TRIAL), tmp_path, data_dir=None)
    assert_equal_records(tmp_path, whole)
