"""Batch norm in a network whose batches are shared: whose statistics they are."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.exactness_work import EXACT, FEWER, RESNET, SMALL, batches, build_run, tiny
from support.ranks import CPU, settings_of, trial_of
from torch import nn

from suite import data, train
from suite.config import InputError
from suite.train.distributed import SINGLE_PROCESS


@pytest.mark.slow
def test_statistics_of_norms_are_of_the_own_share_and_kept_are_those_of_rank_0(
    two_rank_results: list[dict[str, Any]],
) -> None:
    trial = trial_of("weights", model=RESNET, **EXACT)
    arrays = data.load(trial.dataset, data_dir=None, device=CPU)
    rank_0 = nn.BatchNorm2d(64, affine=False, dtype=torch.float64)
    for number, (images, labels) in enumerate(itertools.islice(arrays.train_batches(3, 0, 64), 2)):
        before = rank_0.state_dict()
        kept = {name: value.clone() for name, value in before.items()}
        for rank in (1, 0):  # rank 0 last: its statistics are those that the next step begins with
            step = two_rank_results[rank]["norms"][number]
            share = images[rank::2].double()
            rank_0.load_state_dict(kept)
            rank_0(F.conv2d(share, step["weight"], padding=1))
            for name, buffer in rank_0.named_buffers():
                torch.testing.assert_close(step[name], buffer, rtol=1e-12, atol=1e-12)
            if number == 0:  # nothing is trained yet: the whole network can be made again
                network = build_run(settings_of("weights", model=RESNET, **EXACT), SINGLE_PROCESS).model
                loss = F.cross_entropy(network(share), labels[rank::2], reduction="sum")
                assert step["loss"].item() == pytest.approx(loss.item(), rel=1e-12)
        first, second = (two_rank_results[rank]["norms"][number]["running_mean"] for rank in range(2))
        assert not torch.allclose(first, second, rtol=1e-3)
    assert rank_0.num_batches_tracked == 2  # the first pass of ``Group.wrap_ddp`` left no trace
    for rank in two_rank_results:
        for name, buffer in two_rank_results[0]["norms"][1].items():
            if name not in ("weight", "loss"):
                assert torch.equal(rank["norms"][2][name], buffer)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEWER)
def test_ranks_without_an_image_in_a_network_with_batch_norm(four_rank_results: Any, name: str) -> None:
    """Against one process that goes through the shares one after the other, each with statistics of its own."""
    run = build_run({**SMALL, "processes": 1}, SINGLE_PROCESS, tiny(FEWER[name]))
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
    for rank in four_rank_results[1]:
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
