"""torchvision, importable also beside a CPU-only torch: `from suite.torchvision_shim import torchvision`.

The torchvision on PyPI is a CUDA build. Beside a CPU-only torch its native library cannot be loaded, and its import
then fails with "operator torchvision::nms does not exist", because its Python files add fake kernels to two operators
that nobody has declared. Declaring the two first is enough: data sets and transforms work, the operators themselves and
the codecs of `torchvision.io` do not. Where the native library loads, nothing is declared.
"""

from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _native_loads() -> bool:
    """Load torchvision's operators, as its own import will once more; False if they were built for another torch."""
    package = find_spec("torchvision")
    if package is None:
        raise ModuleNotFoundError("torchvision is needed here: pip install torchvision", name="torchvision")
    native = PathFinder.find_spec("_C", package.submodule_search_locations)
    if native is None or native.origin is None:
        return False
    try:
        torch.ops.load_library(native.origin)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def _declare_missing() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)  # type: ignore[no-untyped-call]
    return library


_declared = None if _native_loads() else _declare_missing()  # kept: declarations live as long as the object

torchvision: Any = import_module("torchvision")


def transforms() -> Any:
    """The module of transforms, the second version; torchvision does not import it by itself."""
    return import_module("torchvision.transforms.v2")
