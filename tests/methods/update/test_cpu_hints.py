"""What ``cpu`` remembers of the last step is a hint: whatever it says, the bits are those of the specification."""

import math
from typing import Any

import pytest
import torch
from support.paired_layers import INF, NAN, PairedLayers, normal, special

from suite.methods.update.plain import RANKINGS

pytestmark = pytest.mark.slow
SHAPES = [(1,), (7,), (300,), (17, 241)]
each_ranking = pytest.mark.parametrize("rank_by", RANKINGS)
FORCED = [
    (100.0, 0.01),  # far above, far below
    (-100.0, 0.01),
    (0.3, 0.0),  # no width
    (-0.7, 1e-3),
    (0.0, INF),  # everything in the band
    (0.5, 1e6),
    (NAN, 0.0),
    (NAN, NAN),
    (0.2, NAN),
    (INF, 0.0),
    (-INF, 0.0),
    (INF, INF),
    (-INF, INF),
    (0.123456789012345678, 1e-9),  # not a number of 32 bits
]


@each_ranking
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("forced", FORCED)
def test_a_wrong_hint(step_path: Any, forced: tuple[float, float], sparsity: float, rank_by: str) -> None:
    twins = PairedLayers(SHAPES, sparsity=sparsity, rank_by=rank_by)
    twins.run(3)
    for _ in range(3):
        for layer in range(len(SHAPES)):
            step_path.set_band(twins, layer, forced)
        twins.step()
    twins.run(2)


@each_ranking
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_hints_in_any_order(step_path: Any, dtype: torch.dtype, rank_by: str) -> None:
    twins = PairedLayers(SHAPES, dtype=dtype, sparsity=0.7, rank_by=rank_by)
    generator = torch.Generator().manual_seed(3)
    for i in range(200):
        for layer in range(len(SHAPES)):
            which = int(torch.randint(3 * len(FORCED), (), generator=generator))
            if i and which < len(FORCED):
                step_path.set_band(twins, layer, FORCED[which])
        if i % 37 == 1:
            twins.thresholds.clear()
        twins.step()


@each_ranking
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hints_beyond_the_numbers_of_the_scores(step_path: Any, dtype: torch.dtype, rank_by: str) -> None:
    """Bands whose borders no score can have: scores are huge, and jump."""
    largest = torch.finfo(dtype).max
    scores = lambda shape, seed: (normal(shape, seed, torch.float64).clamp(-1, 1) * largest).to(dtype)  # noqa: E731
    twins = PairedLayers(
        [(300,), (17, 241)], dtype=dtype, scores=scores, rank_by=rank_by, weight_decay=0.0, momentum=0.0
    )
    for i in range(12):
        twins.step([grad * (largest / 20) for grad in twins.grads()], lr=1.0 if i % 3 else 0.0)


@each_ranking
def test_hints_emptied_between_steps(step_path: Any, rank_by: str) -> None:
    twins = PairedLayers(SHAPES, rank_by=rank_by)
    for _ in range(20):
        twins.thresholds.clear()
        twins.step()
    assert step_path.num_ranked == 20 * len(SHAPES) - 20  # nothing is pruned of one weight


@each_ranking
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_calm_steps_do_not_rank_the_whole_layer(step_path: Any, sparsity: float, rank_by: str) -> None:
    """Else the other tests would test the way round, not the way."""
    shapes = [(17, 241), (200, 200), (40, 30, 3, 3)]
    twins = PairedLayers(shapes, sparsity=sparsity, rank_by=rank_by, lr=0.01)
    twins.step()
    assert step_path.num_ranked == len(shapes)
    twins.run(200)
    assert step_path.num_ranked <= len(shapes) + 0.01 * 200 * len(shapes)
    for layer in range(len(shapes)):
        middle, half = step_path.band(twins, layer)
        assert math.isfinite(middle) and 0 <= half < 0.1


@each_ranking
def test_resting_steps_rank_once(step_path: Any, rank_by: str) -> None:
    twins = PairedLayers([(300,), (200, 200)], rank_by=rank_by, lr=0.0)
    twins.run(30)
    assert step_path.num_ranked == 2


@each_ranking
def test_a_layer_of_which_nothing_is_pruned_is_never_ranked(step_path: Any, rank_by: str) -> None:
    twins = PairedLayers(SHAPES, rank_by=rank_by, sparsity=0.0)
    twins.run(20)
    assert step_path.num_ranked == 0


@each_ranking
def test_sparsities_that_change(step_path: Any, rank_by: str) -> None:
    twins = PairedLayers([(2,), (300,), (17, 241)], rank_by=rank_by)
    for i in range(90):
        twins.step(sparsity=[0.0, 0.5, 0.51, 0.9, 0.0, 0.999][i // 4 % 6])


@each_ranking
@pytest.mark.parametrize(
    "upset",
    [
        lambda twins, path: twins.run(2, sparsity=0.0),
        lambda twins, path: path.set_band(twins, 0, (INF, 0.0)),
        lambda twins, path: path.set_band(twins, 0, (0.0, INF)),
        lambda twins, path: path.set_band(twins, 0, (1000000.0, 1000000.0)),
    ],
    ids=["nothing-pruned", "infinite-threshold", "infinite-band", "wide-band"],
)
def test_a_band_becomes_narrow_again(step_path: Any, upset: Any, rank_by: str) -> None:
    """Else each later step would select among the whole layer."""
    twins = PairedLayers([(200, 200)], rank_by=rank_by, lr=0.001)
    twins.run(5)
    upset(twins, step_path)
    twins.run(350)
    assert step_path.band(twins, 0)[1] < 0.1


@each_ranking
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_a_threshold_that_is_not_finite(step_path: Any, sparsity: float, rank_by: str) -> None:
    """Among many infinite and NaN scores, which come and go."""
    twins = PairedLayers([(300,), (17, 241)], sparsity=sparsity, rank_by=rank_by, weight_decay=0.0, momentum=0.0)
    for i in range(20):
        if i % 4 == 1:
            for score, other in zip(twins.actual["scores"], twins.expected["scores"], strict=True):
                kind = normal(score.shape, i) if i % 8 == 1 else special(score.numel(), i).view(score.shape)
                score.copy_(kind)
                other.copy_(kind)
        twins.step()
