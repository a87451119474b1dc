"""Going on inside an epoch: bit for bit, and not at all under other conditions."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from suite.config import InputError
from suite.data.interface import Data

pytestmark = pytest.mark.slow
both = pytest.mark.parametrize("storage", ["files", "tar"])
Load = Callable[..., Data]
Batch = tuple[Tensor, Tensor]
EPOCH = {"rank": 1, "world_size": 2}
SIZE = 16  # 204 training images: 12 batches


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, sum(one, ()), sum(other, ())))


def stopped(data: Data, epoch: int, after: int, first: int = 0) -> tuple[list[Batch], bytes]:
    """Batches until some of an epoch are done, and the state there."""
    batches = data.train_batches(5, epoch, SIZE, first=first, **EPOCH)
    seen = [next(batches) for _ in range(first, after)]
    state = data.state()
    batches.close()  # type: ignore[attr-defined]
    return seen, state


@pytest.mark.parametrize("after", [1, 2, 7, 11])
@both
def test_the_rest_of_an_epoch_and_the_next_one_are_the_same_bits(loaded: Load, storage: str, after: int) -> None:
    quiet = [list(loaded(storage).train_batches(5, epoch, SIZE, **EPOCH)) for epoch in (3, 4)]
    assert len(quiet[0]) == 12
    seen, state = stopped(loaded(storage), 3, after)
    assert same(seen, quiet[0][:after])

    other = loaded(storage, loader_threads=1, prefetch=3)  # neither matters
    other.restore(state)
    assert same(list(other.train_batches(5, 3, SIZE, first=after, **EPOCH)), quiet[0][after:])
    assert same(list(other.train_batches(5, 4, SIZE, **EPOCH)), quiet[1])


@both
def test_stopped_again_and_again(loaded: Load, storage: str) -> None:
    quiet = list(loaded(storage).train_batches(5, 0, SIZE, **EPOCH))
    seen: list[Batch] = []
    state = b""
    for first, after in ((0, 3), (3, 4), (4, 9), (9, 12)):
        data = loaded(storage)
        data.restore(state)
        more, state = stopped(data, 0, after, first)
        seen += more
    assert same(seen, quiet)
    data = loaded(storage)
    data.restore(state)
    assert list(data.train_batches(5, 0, SIZE, first=12, **EPOCH)) == []  # the epoch is over


@both
def test_between_epochs_no_state_is_needed(loaded: Load, storage: str) -> None:
    data = loaded(storage)
    epochs = [list(data.train_batches(5, epoch, SIZE, **EPOCH)) for epoch in range(3)]
    assert data.state() == b""
    assert same(list(loaded(storage).train_batches(5, 2, SIZE, **EPOCH)), epochs[2])
    assert not same(epochs[1], epochs[2])


def test_the_middle_of_an_epoch_is_not_guessed(loaded: Load) -> None:
    with pytest.raises(ValueError, match="batch 3: DALI needs its state"):
        next(loaded().train_batches(5, 0, SIZE, first=3))


def test_the_stream_names_what_its_state_depends_on(loaded: Load, own_tree: Path) -> None:
    base = loaded().resume_conditions(5, 16, 2)
    others: dict[str, dict[str, str]] = {
        "batch": loaded().resume_conditions(5, 32, 2),
        "seed": loaded().resume_conditions(6, 16, 2),
        "pixels": loaded(channels_last=False).resume_conditions(5, 16, 2),
        "images": loaded("tar").resume_conditions(5, 16, 2),
    }
    for key, other in others.items():
        assert {name for name in base if base[name] != other[name]} >= {key}
    assert loaded().resume_conditions(5, 16, 3)["batch"] != base["batch"]
    assert loaded(output="fp16").resume_conditions(5, 16, 2)["pixels"] != base["pixels"]
    assert loaded(loader_threads=1, prefetch=4, mmap=True).resume_conditions(5, 16, 2) == base
    manifest = own_tree / "manifest.csv"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines).replace(lines[5], lines[5].replace(",1,\n", ",0,left out by hand\n")))
    assert loaded(root=own_tree, max_excluded_share=0.1).resume_conditions(5, 16, 2)["images"] != base["images"]


def test_without_dali_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch, loaded: Load) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "suite.data.imagenet.dali_loader", raising=False)
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(InputError, match=r"pip install '\.\[dali\]'"):
        loaded()
    assert loaded(loader="torchvision", loader_threads=0).num_classes == 6
