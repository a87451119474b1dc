"""What stands before the bits of a ticket: which network, how it was made, and what each section holds."""

import math
import zlib
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from suite.config import Distribution, InputError
from suite.tickets.entropy_coding import Coding, CorruptData, inflated

Dtype = Literal["float32", "float64", "float16", "bfloat16"]
ThetaDtype = Literal["float32", "float64"]
StoredDtype = Literal[Dtype, "int64", "int32", "int16", "int8", "uint8", "bool"]
# Of the survivors' weights: as the seed has them, with some signs turned, of later draws, some changed, or as they are.
Theta = Literal["seed", "signs", "draws", "changed", "values"]
STORED_DTYPES: tuple[StoredDtype, ...] = get_args(StoredDtype)
MAGIC = b"\x89TKT\r\n\x1a\n"  # as PNG's: tells at once that line ends were changed
VERSION = 1
MOST_HEADER_BYTES = 1 << 22
MOST_DRAWS = 1 << 16
MOST_DIMENSIONS = 8
_LONGEST_MESSAGE = 500
Whole = Annotated[int, Field(ge=0, lt=1 << 53)]
Shape = Annotated[list[Whole], Field(max_length=MOST_DIMENSIONS)]


class TicketError(InputError):
    """A file is no ticket, or not whole, or not of a network that can be made here."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*map(_in_one_line, problems))


def _in_one_line(text: str) -> str:
    """A message without what a file could do to a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)[:_LONGEST_MESSAGE]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Network(_Part):
    """The arguments of ``models.build``."""

    name: str
    num_classes: Annotated[int, Field(ge=1, lt=1 << 31)]
    image_size: Annotated[int, Field(ge=1, lt=1 << 31)]
    in_channels: Annotated[int, Field(ge=1, lt=1 << 31)]
    width_mult: Annotated[float, Field(gt=0, lt=1 << 20)]
    norm_affine: bool
    own: dict[str, Any] = {}  # settings that a plugin's network alone has


class Source(_Part):
    """Where the weights of some layers come from: settings of a group of the optimizer."""

    distribution: Distribution | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    sparsity: Annotated[float, Field(ge=0, lt=1)]
    fan_in: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    scale_fan: bool = False
    num_draws: Annotated[int, Field(ge=0, le=MOST_DRAWS)] = 0  # after the first one


class Layer(_Part):
    """A masked parameter: ``kept`` of its weights survive; ``turned`` of these have another sign than the seed's.

    ``position`` is that in the optimizer, which names the random stream; ``source`` a place in the header's list.
    ``theta_dtype`` is that of the random weights; unset, ``dtype``, float32 at least. Of weights of the kind
    ``changed``, ``turned`` have another value than the seed's. ``frozen`` counts the weights that are removed and kept
    for ever. With a ``magnitude`` the survivors are that number, with the signs of their random weights.
    """

    name: str
    shape: Shape
    dtype: Dtype
    source: Whole
    position: Annotated[int, Field(ge=0, lt=2**32)]
    kept: Whole
    mask: tuple[Coding, Whole]  # the form and bytes of the section
    theta: tuple[Theta, Coding, Whole]
    turned: Whole = 0
    theta_dtype: ThetaDtype | None = None
    frozen: tuple[Whole, Whole] = (0, 0)
    magnitude: Annotated[float, Field(ge=0)] | None = None

    @property
    def drawn_dtype(self) -> ThetaDtype:
        """The dtype in which the weights are drawn, before they are rounded to ``dtype``."""
        return self.theta_dtype or ("float64" if self.dtype == "float64" else "float32")

    @property
    def num(self) -> int:
        """Weights."""
        return math.prod(self.shape)

    @property
    def mask_counts(self) -> tuple[int, int]:
        """The bits of the mask section: of the weights that are not frozen, how many are removed and how many kept."""
        removed, locked = self.frozen
        return self.num - self.kept - removed, self.kept - locked

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.turned <= self.kept <= self.num:
            raise ValueError(f"{self.name}: of {self.num} weights {self.kept} are kept, {self.turned} of them turned")
        if min(self.mask_counts) < 0:
            removed, locked = self.frozen
            raise ValueError(
                f"{self.name}: of {self.num} weights {self.kept} are kept, with {removed} removed and {locked} kept "
                "for ever"
            )
        return self


class TensorEntry(_Part):
    """A tensor that is stored as it is."""

    name: str
    shape: Shape
    dtype: StoredDtype

    @property
    def num_bytes(self) -> int:
        """Of its numbers."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


_ITEM_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2}
_ITEM_BYTES |= {"int8": 1, "uint8": 1, "bool": 1}


class NetworkMetadata(_Part):
    """What is told of a network besides its weights: all of it may be missing."""

    network: Network | None = None
    trial_id: str | None = None
    trial: dict[str, Any] | None = None  # its settings, without those at their defaults
    data_id: str | None = None
    metrics: dict[str, float | None] = {}  # accuracies in [0, 1] and losses
    plugins: list[dict[str, Any]] = []  # that the trial used


class Header(NetworkMetadata):
    """All that is said of a ticket; ``digest`` is that of the network's state, in hex."""

    method: str
    num_updates: Whole
    sources: list[Source]
    layers: list[Layer]
    tensors: list[TensorEntry]
    tensors_coding: Literal["raw", "zlib"]
    tensors_bytes: Whole
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    versions: dict[str, str] = {}

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Of the network's tensors, by name."""
        layers = {layer.name: layer.shape for layer in self.layers}
        return layers | {tensor.name: tensor.shape for tensor in self.tensors}

    @property
    def num_weights(self) -> int:
        """Numbers of the network's state, masked or not."""
        return sum(layer.num for layer in self.layers) + sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def dense_bytes(self) -> int:
        """Of the network's state as it is."""
        layers = sum(layer.num * _ITEM_BYTES[layer.dtype] for layer in self.layers)
        return layers + sum(tensor.num_bytes for tensor in self.tensors)

    @property
    def section_bytes(self) -> int:
        """Of all that follows the header, but the checksum."""
        return sum(layer.mask[1] + layer.theta[2] for layer in self.layers) + self.tensors_bytes

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.shapes) != len(self.layers) + len(self.tensors):
            raise ValueError("names a tensor twice")
        for layer in self.layers:
            if layer.source >= len(self.sources):
                raise ValueError(f"{layer.name}: source {layer.source} of {len(self.sources)}")
            if layer.theta[0] != "values" and self.sources[layer.source].distribution is None:
                raise ValueError(f"{layer.name}: nothing says what its weights are drawn from")
        return self

    def packed(self) -> bytes:
        """The header as it stands in a file."""
        text = self.model_dump_json(exclude_defaults=True)
        return zlib.compress(text.encode(), 9)

    @classmethod
    def parsed(cls, data: bytes) -> "Header":
        """The header of a file.

        Raises:
            TicketError: it is none.
        """
        try:
            return cls.model_validate_json(inflated(data, MOST_HEADER_BYTES))
        except CorruptData as error:
            raise TicketError(f"its header is garbled ({error})") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise TicketError(f"its header is wrong: {where or 'as a whole'}: {first['msg']}") from None
