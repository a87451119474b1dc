"""What the ranks of a trial say to each other."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.ranks import join_group, on_ranks
from torch import Tensor, nn

from suite.train.distributed import SINGLE_PROCESS, Group, PeerLost, RanksDiffer

LARGE = bytes(range(256)) * 40_000  # 10 MB
FLIPPED = {  # element type -> which of its bits are tried, from the lowest
    torch.float64: (0, 31, 52, 62, 63),
    torch.int64: (0, 31, 32, 63),
    torch.float32: (0, 23, 31),
    torch.bfloat16: (0, 15),
    torch.uint8: (0, 7),
    torch.bool: (0,),
}


class Left(Exception):
    """A rank goes, and says nothing."""


def exchanges(group: Group) -> dict[str, Any]:
    """Every exchange once: what this rank got."""
    rank = group.rank
    data = {"none": None, "bytes": b"\x00from rank 0\xff", "large": LARGE}
    received = {name: group.broadcast_bytes(value if rank == 0 else None) for name, value in data.items()}
    mine = torch.tensor([[rank, 10 * rank]])
    given = torch.tensor([0.5, rank])
    norm = nn.BatchNorm1d(3)
    norm.running_mean.fill_(rank + 1)
    norm.num_batches_tracked.fill_(rank + 5)
    group.broadcast_buffers(norm)
    summed = group.all_reduce_sum(given)
    return {
        "max_": group.all_reduce_max([rank, -rank, 7, 2**40 + rank]),
        "sum_": summed,
        "given": given,
        "sum_ of counts": group.all_reduce_sum(torch.tensor(rank + 1)),
        "sum_ is new": summed.data_ptr() != given.data_ptr(),
        "gather": group.all_gather_tensor(mine),
        "gather scalars": group.all_gather_tensor(torch.tensor(float(rank), dtype=torch.float64)),
        "broadcast_bytes": {name: value == data[name] for name, value in received.items()},
        "buffers": {name: buffer.clone() for name, buffer in norm.named_buffers()},
    }


def tried(call: Callable[[], Any]) -> Any:
    """What a call gives, or how it raises: the ranks are still together after it."""
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def flips() -> dict[str, tuple[torch.dtype, int, int]]:
    return {
        f"{dtype}, bit {bit} at {position}": (dtype, bit, position)
        for dtype, bits in FLIPPED.items()
        for bit in bits
        for position in (0, 1, 2, 3, 63)
    }


def some(dtype: torch.dtype, flip: tuple[int, int] | None = None) -> Tensor:
    """Some tensor of this type; ``flip``: with this bit of this element changed."""
    tensor = (torch.arange(64) % (2 if dtype == torch.bool else 64)).to(dtype)
    if flip is not None:
        bit, position = flip
        tensor.view(torch.uint8)[position * tensor.element_size() + bit // 8] ^= 1 << bit % 8  # little-endian
    return tensor


def compared(group: Group, tensors: dict[str, Tensor]) -> str:
    """What ``check_equal`` said: nothing where all is equal."""
    try:
        group.check_equal(tensors)
    except RanksDiffer as error:
        return str(error)
    return ""


def comparisons(group: Group) -> dict[str, str]:
    """What ``check_equal`` says where one bit of one tensor differs on one rank, and where none does."""
    said = {}
    for name, (dtype, bit, position) in flips().items():
        other = some(dtype, (bit, position) if group.rank == 2 else None)
        said[name] = compared(group, {"same": torch.ones(3), "other": other})
    # Equal numbers in another memory format are equal; the sign of a zero is a bit, and NaN equals itself.
    image = torch.arange(24.0).view(1, 2, 3, 4)
    layout = torch.channels_last if group.rank == 1 else torch.contiguous_format
    said["memory format"] = compared(group, {"image": image.contiguous(memory_format=layout)})
    said["NaN"] = compared(group, {"nan": torch.tensor([torch.nan, 1.0])})
    said["swapped"] = compared(group, {"pair": torch.tensor([1.0, 2.0] if group.rank != 1 else [2.0, 1.0])})
    said["several"] = compared(group, {str(i): torch.tensor(i + group.rank * (i > 1)) for i in range(4)})
    said["first rank"] = compared(group, {"a": torch.tensor(group.rank == 2), "b": torch.tensor(group.rank >= 1)})
    said["nothing"] = compared(group, {})
    return said


def talk() -> dict[str, Any]:
    """All that is tried on 3 ranks."""
    with join_group() as group:
        said = {"empty": tried(lambda: group.broadcast_bytes(b"" if group.rank == 0 else None) == b"")}
    with join_group() as group:
        said |= {"exchanges": tried(lambda: exchanges(group)), "comparisons": comparisons(group)}
    try:
        with join_group() as group:
            if group.rank == 2:
                raise Left
            group.barrier()
    except PeerLost as error:
        said["lost"] = str(error)
    except Left:
        said["lost"] = ""
    return said


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """By rank of 3."""
    return on_ranks(3, talk, tmp_path_factory.mktemp("talk"))


def test_exchanges_of_three_ranks(said: list[dict[str, Any]]) -> None:
    for rank, each in enumerate(said):
        found = each["exchanges"]
        assert isinstance(found, dict), found
        assert found["max_"] == [2, 0, 7, 2**40 + 2]
        assert found["sum_"].tolist() == [1.5, 3]
        assert (found["given"].tolist(), found["sum_ is new"]) == ([0.5, rank], True)
        assert (found["sum_ of counts"].dtype, found["sum_ of counts"].tolist()) == (torch.int64, 6)
        assert found["gather"].tolist() == [[[0, 0]], [[1, 10]], [[2, 20]]]
        assert (found["gather scalars"].dtype, found["gather scalars"].tolist()) == (torch.float64, [0, 1, 2])
        assert found["broadcast_bytes"] == {"none": True, "bytes": True, "large": True}
        assert {name: buffer.tolist() for name, buffer in found["buffers"].items()} == {
            "running_mean": [1, 1, 1],
            "running_var": [1, 1, 1],
            "num_batches_tracked": 5,
        }


def test_no_bytes_at_all_come_from_the_first_rank(said: list[dict[str, Any]]) -> None:
    assert [each["empty"] for each in said] == [True] * 3


@pytest.mark.parametrize("name", flips())
def test_one_bit_that_differs_on_one_rank_is_named_on_every_rank(said: list[dict[str, Any]], name: str) -> None:
    expected = "rank 2: other: differs from rank 0's; 1 differ in all"
    assert [each["comparisons"][name] for each in said] == [expected] * 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("memory format", ""),
        ("NaN", ""),
        ("nothing", ""),
        ("swapped", "rank 1: pair: differs from rank 0's; 1 differ in all"),
        ("several", "rank 1: 2: differs from rank 0's; 4 differ in all"),  # two tensors on each of two ranks
        ("first rank", "rank 1: b: differs from rank 0's; 3 differ in all"),
    ],
)
def test_what_a_comparison_says(said: list[dict[str, Any]], name: str, expected: str) -> None:
    assert [each["comparisons"][name] for each in said] == [expected] * 3


def test_who_is_left_alone_says_so(said: list[dict[str, Any]]) -> None:
    assert [each["lost"].split(":")[0] for each in said] == ["rank 0", "rank 1", ""]
    assert "rank 0: lost another rank: " in said[0]["lost"]


def test_one_process_gets_what_it_gave() -> None:
    found = exchanges(SINGLE_PROCESS)
    assert found["max_"] == [0, 0, 7, 2**40]
    assert (found["sum_"].tolist(), found["sum_ is new"]) == ([0.5, 0], True)
    assert found["sum_ of counts"].tolist() == 1
    assert found["gather"].tolist() == [[[0, 0]]]
    assert found["gather scalars"].tolist() == [0]
    assert found["broadcast_bytes"] == {"none": True, "bytes": True, "large": True}
    assert found["buffers"]["running_mean"].tolist() == [1, 1, 1]
    assert SINGLE_PROCESS.broadcast_bytes(b"") == b""
    assert compared(SINGLE_PROCESS, {"nan": torch.tensor(torch.nan)}) == ""
    SINGLE_PROCESS.barrier()
    net = nn.Linear(2, 2)
    assert SINGLE_PROCESS.wrap_ddp(net, lambda _: pytest.fail("one process needs no first pass")) is net
