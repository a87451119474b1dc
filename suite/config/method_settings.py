"""Settings of the suite's methods; ``registry`` lists them. Loads no torch."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from suite.config.settings import Count, NamedSettings, NonNegative, Positive

Distribution = Literal["kaiming_uniform", "kaiming_normal", "signed_constant"]
RankBy = Literal["scores", "abs_scores"]
ScoreInit = Literal["kaiming_uniform", "fan_in_uniform"]
Scope = Literal["layer", "global"]
Layout = Literal["uniform", "erk"]


class MethodSettings(NamedSettings):
    """What every method has: the settings of SGD."""

    lr: Positive
    """Peak learning rate of SGD; ``schedule`` changes it over the epochs."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""

    weight_decay: NonNegative = 0.0
    """Weight decay (L2 penalty) of what SGD trains: weights, or the scores of a masked method."""


class WeightsSettings(MethodSettings):
    """Weight optimization: SGD on the weights."""

    IMPLEMENTATION = "suite.methods.weights:Weights"

    name: Literal["weights"]
    """Weight optimization, the dense baseline."""

    distribution: Distribution = "kaiming_uniform"
    """Distribution of the initial weights."""


class MaskedSettings(MethodSettings):
    """What the masked methods share."""

    sparsity: Annotated[float, Field(ge=0, lt=1)]
    """Share of the weights of each layer that is removed; 0.5 keeps half of them."""

    scope: Scope = "layer"
    """What the share is of: each layer, or ``global``: all masked weights, ranked together by one threshold."""

    distribution: Distribution = "signed_constant"
    """Distribution of the fixed random weights. ``signed_constant``: one magnitude for each layer, random signs."""

    rank_by: RankBy = "scores"
    """What ranks weights: the scores, or their absolute values."""

    score_init: ScoreInit = "kaiming_uniform"
    """Distribution of the initial scores."""

    scale_fan: bool = False
    """Multiply the standard deviation of the weights by sqrt(1 / share kept), as edge-popup's scaled initialization."""

    max_score_grad_norm: Positive | None = None
    """Clip the norm of the gradient of the scores, over all layers, to this value; unset: no clipping."""

    pack_signs: bool = False
    """Keep the random weights as one bit each in memory; needs ``distribution: signed_constant``."""

    plain_lr: Positive | None = None
    """Learning rate of parameters without a mask, which then have no weight decay; unset: as the scores, with decay."""

    @field_validator("pack_signs")
    @classmethod
    def _signs_alone(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("distribution", "signed_constant") != "signed_constant":
            raise ValueError("must be false but with distribution: signed_constant, whose weights differ in sign alone")
        return value


class EdgePopupSettings(MaskedSettings):
    """Edge-popup: SGD on the scores of fixed random weights."""

    IMPLEMENTATION = "suite.methods.edge_popup:EdgePopup"

    name: Literal["edge_popup"]
    """Edge-popup (Ramanujan et al. 2020)."""


class IteRandSettings(MaskedSettings):
    """IteRand: edge-popup which draws pruned weights again every K_per steps with probability r."""

    IMPLEMENTATION = "suite.methods.iterand:IteRand"

    name: Literal["iterand"]
    """IteRand (Chijiwa et al. 2021)."""

    rerandomize_every: Count = 300
    """Optimizer steps between two redraws, the paper's K_per."""

    rerandomize_prob: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Probability that a redraw replaces a pruned weight, the paper's r."""


class RecycleSettings(MaskedSettings):
    """Weight recycling: edge-popup which copies its most important weights over the least important ones."""

    IMPLEMENTATION = "suite.methods.recycle:Recycle"

    name: Literal["recycle"]
    """Iterative weight recycling (Gorbett and Whitley 2023)."""

    recycle_every: Count = 300
    """Optimizer steps between two recyclings; the last one is at least as many steps before the end."""

    recycle_share: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    """Share of the weights of a layer, those with the lowest absolute scores, that take others' values."""


class SparseSettings(MethodSettings):
    """What the methods share that train weights under a mask."""

    sparsity: Annotated[float, Field(ge=0, lt=1)]
    """Share of the weights that is removed; 0.5 keeps half of them."""

    distribution: Distribution = "kaiming_uniform"
    """Distribution of the initial weights."""


class RandomMaskSettings(SparseSettings):
    """A random mask that never changes, with the weights trained."""

    IMPLEMENTATION = "suite.methods.random_mask:RandomMask"

    name: Literal["random_mask"]
    """Training under a random mask."""

    layout: Layout = "uniform"
    """Shares of the layers: ``uniform``, or ``erk`` (Evci et al. 2020): small layers lose less, all as much."""
