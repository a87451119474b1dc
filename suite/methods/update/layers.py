"""What the forms of a step over the layers on a CPU share: their arguments and their signature."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from suite.methods.update.plain import Theta


@dataclass(frozen=True)
class SgdSettings:
    """The numbers of one step, as ``torch.optim.SGD`` names them; ``scale`` multiplies the scores' gradients."""

    lr: float
    momentum: float
    weight_decay: float
    absolute: bool
    scale: float | None


class ThresholdBand(NamedTuple):
    """A band and what lies in its middle: the last threshold."""

    low: float
    middle: float
    high: float


LayerTensors = tuple[
    Tensor, Tensor, Theta, Tensor, Tensor
]  # parameter, gradient, theta, scores, momentum: alike in memory


# (layers, their bands, how many each prunes, sgd): updates scores and momenta; where the wanted rank is in the band
# it writes the layer's weights; the rank of each layer's last pruned weight, NaN where the whole layer is to be ranked.
Step = Callable[[Sequence[LayerTensors], Sequence[ThresholdBand], Sequence[int], SgdSettings], Sequence[float]]
