"""How people read each method: its name, colour, marker and line. The one list of that; a new method needs no entry."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """The name of a method in tables, figures and MLflow, and how matplotlib draws it."""

    name: str
    color: str
    marker: str
    linestyle: str


LOOKS = {
    "weights": Look("dense (SGD)", "#444444", "s", "--"),
    "edge_popup": Look("edge-popup", "#0072b2", "o", ":"),
    "iterand": Look("IteRand", "#d55e00", "^", "-"),
    "recycle": Look("recycling", "#009e73", "D", "-."),
    "random_mask": Look("random mask", "#999999", "X", "--"),
    "magnitude": Look("magnitude pruning", "#56b4e9", "h", "--"),
    "imp": Look("IMP", "#882255", "*", "--"),
    "biprop": Look("biprop", "#cc79a7", "v", "-."),
    "frozen": Look("partially frozen", "#e69f00", "P", "-."),
}
_OTHERS = tuple(zip(("#332288", "#117733", "#ddcc77", "#44aa99"), "<>pd", strict=True))  # of other methods, in turn


def look_of(method: str, methods: Sequence[str]) -> Look:
    """The look of a method; one without an entry keeps its name, and takes the next colour by its place in ``methods``.

    Args:
        methods: all there are, in their order.
    """
    if method in LOOKS:
        return LOOKS[method]
    others = [name for name in methods if name not in LOOKS]
    color, marker = _OTHERS[(others.index(method) if method in others else len(others)) % len(_OTHERS)]
    return Look(method, color, marker, "-.")


def readable(series: str) -> str:
    """The name of a series, "edge_popup sparsity=0.5" say, with its method as people read it."""
    method = re.split(r"[ ,]", series, maxsplit=1)[0]
    return (LOOKS[method].name if method in LOOKS else method) + series[len(method) :]
