"""The contract of ``suite.methods``, held against every registered method: draws."""

import torch

from suite.testing.method.cases import (
    NUM_STEPS,
    advance,
    build,
    each_method,
    full_state,
    groups,
    model_and_optimizer,
    net,
    tensor_state,
)


@each_method
def test_torchs_generator_is_neither_read_nor_moved(name: str) -> None:
    before = torch.get_rng_state()
    first = model_and_optimizer(name)[1]
    before = torch.get_rng_state()
    advance(first, range(4))
    assert torch.equal(torch.get_rng_state(), before)
    model = net()
    torch.manual_seed(99)
    second = build(name, groups(name, model))
    advance(second, range(4))
    assert full_state(first) == full_state(second)


@each_method
def test_equal_seeds_and_gradients_give_equal_bits(name: str) -> None:
    runs = [model_and_optimizer(name, seed=seed)[1] for seed in (5, 5, 6)]
    for optimizer in runs:
        advance(optimizer, range(NUM_STEPS))
    assert full_state(runs[0]) == full_state(runs[1])
    assert tensor_state(runs[0]) != tensor_state(runs[2])
