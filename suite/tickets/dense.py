"""Dense networks as safetensors in several forms, to compare tickets with; the only importer of safetensors.

``fp32`` is the network as it was trained; ``bf16`` rounds weights to bfloat16; ``int8`` keeps a whole number from -127
to 127 a weight and a float32 scale an output channel. ``int8-coded`` is the same numbers at their entropy, ``int4``
numbers from -7 to 7, at their entropy where that is shorter. Biases, norms and their statistics are always float32.
``sparse-fp32``, ``sparse-bf16`` and ``sparse-int8`` are the first three, as coded masks and what is under them.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from suite.config import InputError
from suite.records import Stored, write_bytes_atomic
from suite.records.file_errors import TRANSIENT
from suite.tickets import networks, quantized, sparse
from suite.tickets.entropy_coding import Coding, CorruptData
from suite.tickets.header import NetworkMetadata, TensorEntry, TicketError
from suite.tickets.quantized import SCALE, SECTION
from suite.tickets.sparse import SparseEntry

DenseForm = Literal["fp32", "bf16", "int8", "int8-coded", "int4"]
SparseForm = Literal["sparse-fp32", "sparse-bf16", "sparse-int8"]
Form = Literal[DenseForm, SparseForm]
FORMS: tuple[DenseForm, ...] = get_args(DenseForm)
_DENSE: dict[Form, DenseForm] = {"sparse-fp32": "fp32", "sparse-bf16": "bf16", "sparse-int8": "int8"}  # equal numbers
SPARSE_FORMS = tuple(_DENSE)
CODED = ("int8-coded", "int4")  # forms whose weights are in one section
_KEY = "suite"  # of our part of the metadata
_LARGEST: dict[Form, int] = {"int8": 127, "int8-coded": 127, "int4": 7}
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool)  # int8 is a form of a weight
_DTYPES = ("F32", "BF16", "I8", "I64", "I32", "I16", "U8", "BOOL")  # as safetensors names them


class DenseMetadata(NetworkMetadata):
    """What stands in the metadata; ``digest`` is that of the tensors as they are stored."""

    form: Form
    method: str
    digest: str
    coded: list[TensorEntry] = Field(default=[])  # weights that are in the section, in its order
    coding: Coding = "none"  # of the section
    sparse: list[SparseEntry] = Field(default=[])  # weights that are masks and the numbers under them


@dataclass(frozen=True)
class DenseFile:
    """A dense network in a file."""

    path: Path
    header: DenseMetadata
    num_bytes: int
    shapes: dict[str, list[int]]  # of the network's tensors
    num_weights: int

    def state(self) -> dict[str, Tensor]:
        """The network's state, in float32, on the CPU."""
        try:
            stored = import_safetensors().torch.load_file(self.path)
        except (import_safetensors().SafetensorError, OSError, ValueError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno in TRANSIENT:
                raise
            raise TicketError(f"is garbled: {str(error).splitlines()[0]}") from None
        if networks.digest(stored) != self.header.digest:
            raise TicketError("is garbled: its checksum differs")
        try:
            return _restored(_unfolded(stored, self.header))
        except CorruptData as error:
            raise TicketError(f"is garbled: {error}") from None


def forms_of(masked: bool) -> list[Form]:
    """The forms in which trained weights are compared, those of equal numbers side by side."""
    pairs = {dense: form for form, dense in _DENSE.items()} if masked else {}
    return [each for form in FORMS for each in (form, pairs.get(form)) if each]


def pack(state: Mapping[str, Tensor], form: Form, *, method: str, about: NetworkMetadata) -> bytes:
    """The bytes of a file that holds a network's state in a form; floating-point numbers become float32 at most.

    Raises:
        ValueError: a tensor is of a dtype that no form holds.
    """
    stored, entries = _folded(_stored(state, form), state, form)
    told = {key: getattr(about, key) for key in NetworkMetadata.model_fields}  # a ticket's header has more
    header = DenseMetadata(**told, form=form, method=method, digest=networks.digest(stored), **entries)
    content: bytes = import_safetensors().torch.save(stored, {_KEY: header.model_dump_json(exclude_defaults=True)})
    return content


def sizes(content: bytes, form: Form, metrics: Mapping[str, float | None]) -> Stored:
    """Where the bytes of what ``pack`` made go."""
    length = int.from_bytes(content[:8], "little")
    return _sizes(len(content), content[8 : 8 + length], form, metrics)


def sizes_of(file: DenseFile) -> Stored:
    """Where the bytes of a file go."""
    with file.path.open("rb") as start:
        entries = start.read(int.from_bytes(start.read(8), "little"))
    return _sizes(file.num_bytes, entries, file.header.form, file.header.metrics)


def _sizes(num_bytes: int, entries: bytes, form: Form, metrics: Mapping[str, float | None]) -> Stored:
    """``entries`` is the JSON of a safetensors file."""
    said = {name: entry for name, entry in json.loads(entries).items() if name != "__metadata__"}
    spans = {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in said.items()}
    weights = {name for name in said if len(said[name]["shape"]) > 1 or name.endswith(SCALE) or name == SECTION}
    weights |= {name for name in said if form in SPARSE_FORMS and name.endswith(sparse.VALUES)}
    masks = {"mask": spans.pop(sparse.SECTION)} if form in SPARSE_FORMS else {}
    parts = {
        "header": 8 + len(entries),
        **masks,
        "weights": sum(spans[name] for name in weights),
        "tensors": sum(span for name, span in spans.items() if name not in weights),
    }
    return Stored(form=form, bytes=num_bytes, parts=parts, metrics=dict(metrics))


def write(path: Path, content: bytes) -> int:
    """Write what ``pack`` made whole or not at all; returns its bytes."""
    write_bytes_atomic(path, content)
    return len(content)


def rounded(state: Mapping[str, Tensor], form: Form) -> dict[str, Tensor]:
    """A network's state as it comes back out of a form."""
    return _restored(_stored(state, form))


def read(path: Path) -> DenseFile:
    """Look at a dense file: all but the numbers.

    Raises:
        TicketError: it is none of ours, or cut short.
    """
    try:
        with import_safetensors().safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise TicketError("is a safetensors file of another program: it does not say which network it holds")
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no dict
            shapes = {name: list(each.get_shape()) for name, each in slices.items()}
            dtypes = {name: str(each.get_dtype()) for name, each in slices.items()}
        header = DenseMetadata.model_validate_json(text)
    except (import_safetensors().SafetensorError, ValidationError, UnicodeDecodeError) as error:
        raise TicketError(f"is garbled: {str(error).splitlines()[0]}") from None
    folded = {entry.name: entry.shape for entry in (*header.coded, *header.sparse)}
    scales = {name for name in shapes if name.endswith(SCALE) and name.removesuffix(SCALE) in shapes | folded}
    parts = {SECTION, sparse.SECTION, *(entry.name + sparse.VALUES for entry in header.sparse)} & shapes.keys()
    own = {name: shape for name, shape in shapes.items() if name not in scales | parts}
    try:
        _check_entries(header, shapes, dtypes)
        _check_dtypes(shapes.keys() - parts, shapes, dtypes, scales)
    except CorruptData as error:
        raise TicketError(f"is garbled: {error}") from None
    own |= folded
    return DenseFile(path, header, path.stat().st_size, own, sum(math.prod(shape) for shape in own.values()))


def _check_entries(header: DenseMetadata, shapes: Mapping[str, list[int]], dtypes: Mapping[str, str]) -> None:
    """Raise CorruptData where the weights that are no tensors are others than the form says, or lack something."""
    if header.form in CODED:
        quantized.check(shapes, dtypes, header.coded)
    elif header.coded:
        raise CorruptData(f"{header.form} has no coded weights")
    if header.form in SPARSE_FORMS:
        sparse.check(shapes, dtypes, header.sparse)
    elif header.sparse:
        raise CorruptData(f"{header.form} has no masks")


def _check_dtypes(
    names: Collection[str], shapes: Mapping[str, list[int]], dtypes: Mapping[str, str], scales: Collection[str]
) -> None:
    """Raise CorruptData for a tensor that none of the forms has."""
    for name in names:
        if dtypes[name] not in _DTYPES or (name in scales and dtypes[name] != "F32"):
            raise CorruptData(f"{name}: {dtypes[name]}: must be one of {', '.join(_DTYPES)}")
        if dtypes[name] == "I8":
            quantized.check_scale(name, shapes[name], shapes, dtypes)


def _stored(state: Mapping[str, Tensor], form: Form) -> dict[str, Tensor]:
    stored, form = dict[str, Tensor](), _DENSE.get(form, form)
    for name, given in state.items():
        tensor = given.detach().cpu().contiguous()
        if tensor.is_floating_point():
            tensor = tensor.float()
            if form == "bf16" and tensor.ndim >= 2:
                tensor = tensor.bfloat16()
            elif form in _LARGEST and tensor.ndim >= 2:
                tensor, stored[name + SCALE] = quantized.quantize(tensor, _LARGEST[form])
        elif tensor.dtype not in _WHOLE:
            held = ", ".join(map(networks.dtype_name, _WHOLE))
            raise ValueError(f"{name}: {networks.dtype_name(tensor.dtype)}: must be floating point, or one of {held}")
        stored[name] = tensor.clone()  # safetensors takes no tensors that share memory
    return stored


def _folded(
    stored: dict[str, Tensor], state: Mapping[str, Tensor], form: Form
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a file of that form holds: the tensors, and what its header says of the weights that are none."""
    if form in CODED:
        tensors, coded, coding = quantized.encode(stored, _LARGEST[form])
        return tensors, {"coded": coded, "coding": coding}
    if form in SPARSE_FORMS:
        tensors, entries = sparse.encode(stored, sparse.masks_of(state))
        return tensors, {"sparse": entries}
    return stored, {}


def _unfolded(stored: dict[str, Tensor], header: DenseMetadata) -> dict[str, Tensor]:
    """What ``_folded`` was given."""
    if header.form in CODED:
        return quantized.decode(stored, header.coded, header.coding, _LARGEST[header.form])
    return sparse.decode(stored, header.sparse) if header.form in SPARSE_FORMS else stored


def _restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.removesuffix(SCALE) != name and name.removesuffix(SCALE) in stored:
            continue
        if tensor.dtype == torch.int8:
            state[name] = quantized.restore(tensor, stored[name + SCALE])
        else:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
    return state


def import_safetensors() -> Any:
    """The library of the format.

    Raises:
        InputError: it is not installed.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install safetensors") from None
    return safetensors
