"""What every data set offers a trial, whatever reads it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch


SplitName = Literal["train", "val", "test"]


class Data(Protocol):
    """What a trial trains and is evaluated on, as one of its processes sees it.

    Batches are (images float (B, C, H, W), normalized; labels int64 (B,)), on the training device. An epoch is a pure
    function of the seed, its number and the sizes, with two exceptions: augmentation by DALI depends on the number of
    ranks too, and a place inside an epoch is found again with the help of `state`.
    """

    @property
    def num_classes(self) -> int:
        """Labels are 0 to num_classes - 1."""

    @property
    def image_size(self) -> int:
        """Pixels a side; images are square."""

    @property
    def in_channels(self) -> int:
        """Colours of a pixel: 1 or 3."""

    @property
    def data_id(self) -> str:
        """16 hex digits that change with any image, label or split."""

    @property
    def train_id(self) -> str:
        """The same of the images that training and validation see: a checkpoint is of use while it is unchanged."""

    @property
    def eval_batch_size(self) -> int:
        """Images at once in an evaluation: fixed, for another number could change the last bits of a loss."""

    def num_images(self, split: SplitName) -> int:
        """Images of a split."""

    def num_epoch_images(self, batch_size: int) -> int:
        """Images that an epoch of training takes: all, or as many as make whole batches of `batch_size`."""

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, *, first: int = 0, rank: int = 0, world_size: int = 1
    ) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
        """This rank's share of each batch of an epoch, from batch `first` on; `batch_size` is over all ranks."""

    def batches(
        self, split: SplitName, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
        """This rank's contiguous share of a split, in order; as many batches on each rank, some perhaps empty."""

    def resume_conditions(self, seed: int, batch_size: int, world_size: int) -> dict[str, str]:
        """What must be the same for `state` to be of use: empty where the position alone says how to go on."""

    def state(self) -> bytes:
        """Where training stands inside its epoch, for `restore`; b"" where the position alone says it."""

    def restore(self, state: bytes) -> None:
        """Let the next `train_batches` go on from there."""
