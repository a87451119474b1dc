"""The contract of ``suite.methods`` for the suite's own methods: groups of masked methods."""

import torch
from torch import nn

from suite.testing.method.cases import advance, build, check_counts, each_constant
from suite.testing.method.test_groups import *


@each_constant
def test_groups_of_other_sparsity_lose_their_own_share(name: str) -> None:
    weights = [nn.Parameter(torch.zeros(10, 10)) for _ in range(3)]
    given = [{"params": [weight], "sparsity": p} for weight, p in zip(weights, (0.0, 0.3, 0.99), strict=True)]
    optimizer = build(name, given)
    advance(optimizer, range(3))
    assert [int((~optimizer.mask(weight)).sum()) for weight in weights] == [0, 30, 98]


@each_constant
def test_a_divergence_keeps_the_count_of_the_mask(name: str) -> None:
    weight = nn.Parameter(torch.zeros(6, 7))
    optimizer = build(name, [weight])
    for value in (float("inf"), float("nan"), 1.0):
        weight.grad = torch.full_like(weight, value)
        optimizer.step()
        check_counts(optimizer)
