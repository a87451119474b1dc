"""One process, two, and parts of a batch do the same steps.

The record of some steps is made by the same function here and on ranks; what must be equal is held against one process.
"""

from typing import Any

import pytest
import torch
from support.exactness_compare import assert_same_steps
from support.exactness_work import EXACT, FP64_JOBS, JOBS, MASKED, record
from support.ranks import METHODS, settings_of


def alone(name: str, **changes: Any) -> dict[str, Any]:
    settings, num_steps = {**FP64_JOBS, **JOBS}[name]
    return record({**settings, "processes": 1, "accumulation_steps": 1, **changes}, num_steps)


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_do_the_steps_of_one_in_double_precision(fp64_results: list[dict[str, Any]], method: str) -> None:
    expected = alone(f"fp64 {method}")
    assert len(expected["losses"]) == 50
    assert len(set(expected["masks"])) > (1 if method == "weights" else 40) - 1  # they do change
    assert len(set(expected["thetas"])) == (10 + 1 if method == "iterand" else 1)  # by a redraw at every 5th step
    for rank in fp64_results:
        assert_same_steps(rank[f"fp64 {method}"], expected)
    assert fp64_results[0][f"fp64 {method}"]["losses"] != expected["losses"]  # they were added up in another order


@pytest.mark.slow
@pytest.mark.parametrize("method", MASKED)
def test_two_processes_choose_the_masks_of_one_at_first(
    two_rank_results: list[dict[str, Any]], method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = alone(f"fp32 {method}")
    for rank in two_rank_results:
        found = rank[f"fp32 {method}"]
        assert_same_steps(found, expected, steps=20)
        assert found["losses"][:20] == pytest.approx(expected["losses"][:20], rel=1e-5)
    differing = expected["masks at the end"] != two_rank_results[0][f"fp32 {method}"]["masks at the end"]
    equal = sum(map(str.__eq__, expected["masks"], two_rank_results[0][f"fp32 {method}"]["masks"]))
    with capsys.disabled():
        print(
            f"\n{method}, fp32, 2 processes against 1: masks are equal after {equal} of 100 steps; "
            f"after step 100 {differing.double().mean():.3%} of {len(differing)} mask bits differ"
        )


@pytest.mark.parametrize("name", FP64_JOBS)
def test_ranks_have_equal_bits(fp64_results: list[dict[str, Any]], name: str) -> None:
    assert_equal_bits(*(rank[name] for rank in fp64_results))


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_ranks_have_equal_bits_in_other_jobs(two_rank_results: list[dict[str, Any]], name: str) -> None:
    assert_equal_bits(*(rank[name] for rank in two_rank_results))


def assert_equal_bits(first: dict[str, Any], second: dict[str, Any]) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_the_shares_of_two_processes_do_the_step_of_the_whole(
    two_rank_results: list[dict[str, Any]], parts: int
) -> None:
    for rank in two_rank_results:
        assert_same_steps(rank[f"{parts} parts"], alone(f"{parts} parts"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in JOBS if name.startswith("one left")])
def test_a_rank_without_an_image_in_the_last_batch(two_rank_results: list[dict[str, Any]], name: str) -> None:
    expected = alone(name)
    for rank in two_rank_results:
        assert_same_steps(rank[name], expected)
