"""The contract of ``suite.methods`` for the suite's own methods: effective weights and state."""

from types import SimpleNamespace

import torch

from suite.testing.method.cases import (
    advance,
    check_counts,
    each_constant,
    each_selecting,
    masked_params,
    model_and_optimizer,
)
from suite.testing.method.test_state import *


@each_selecting
def test_the_mask_follows_the_scores(name: str, slow: SimpleNamespace) -> None:
    _, optimizer = model_and_optimizer(name)
    for step in range(4):
        advance(optimizer, [step])
        for param, group in masked_params(optimizer):
            scores = optimizer.state[param]["scores"]
            rank = scores if group["rank_by"] == "scores" else scores.abs()
            expected = slow.keep(rank, group["sparsity"], optimizer.state[param].get("frozen"))
            assert torch.equal(optimizer.mask(param), expected)


@each_constant
def test_each_layer_loses_exactly_its_share(name: str) -> None:
    """Of the suite's own methods: the contract leaves the count to the method."""
    _, optimizer = model_and_optimizer(name)
    for step in range(4):
        advance(optimizer, [step])
        check_counts(optimizer)
