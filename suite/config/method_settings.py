"""Settings of the suite's methods; ``registry`` lists them. Loads no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from suite.config.settings import Count, NamedSettings, Natural, NonNegative, Positive, Settings, Share

Distribution = Literal["kaiming_uniform", "kaiming_normal", "signed_constant"]
RankBy = Literal["scores", "abs_scores"]
ScoreInit = Literal["kaiming_uniform", "fan_in_uniform"]
Scope = Literal["layer", "global"]
Layout = Literal["uniform", "erk"]
Update = Literal["sgd", "adam"]
ScheduleShape = Literal["constant", "linear", "cubic", "geometric"]


class MethodSettings(NamedSettings):
    """What every method has: the settings of SGD."""

    lr: Positive
    """Peak learning rate of SGD; ``schedule`` changes it over the epochs."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""

    weight_decay: NonNegative = 0.0
    """Weight decay (L2 penalty) of what SGD trains: weights, or the scores of a masked method."""

    def schedule_epochs(self, epochs: int) -> int:
        """After how many of a trial's epochs the schedule of the learning rate begins again.

        Raises:
            ValueError: a trial of this method cannot have so many epochs.
        """
        return epochs


class UpdateSettings(MethodSettings):
    """What the suite's own methods share: SGD or Adam."""

    update: Update = "sgd"
    """``sgd``, or ``adam``, as ``torch.optim.Adam``, which has no ``momentum``."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of Adam's average of gradients."""

    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of Adam's average of squared gradients."""

    eps: Positive = 1e-8
    """What Adam adds to the root of the average of squares."""


class WeightsSettings(UpdateSettings):
    """Weight optimization: SGD on the weights."""

    IMPLEMENTATION = "suite.methods.weights:Weights"

    name: Literal["weights"]
    """Weight optimization, the dense baseline."""

    distribution: Distribution = "kaiming_uniform"
    """Distribution of the initial weights."""


class SparsitySchedule(Settings):
    """The share of weights removed over the epochs, from ``start`` to the method's ``sparsity``."""

    shape: ScheduleShape
    """How the share changes: not at all, or in equal steps (``linear``), or fast and then slowly (``cubic``: what is
    still to be removed is (1 - f)^3 of it after the part f of the time), or so that the share kept falls by equal
    factors (``geometric``)."""

    start: Share = 0.0
    """Share removed until ``begin_epoch``."""

    begin_epoch: Natural = 0
    """Epochs after which the share begins to change; it then changes at each update."""

    end_epoch: Count | None = None
    """Epochs after which the share is ``sparsity``: above ``begin_epoch``; unset: the trial's ``epochs``."""

    @field_validator("end_epoch")
    @classmethod
    def _ends_later(cls, end: int | None, info: ValidationInfo) -> int | None:
        if end is not None and end <= (begin := info.data.get("begin_epoch", 0)):
            raise ValueError(f"must be above begin_epoch ({begin})")
        return end


class MaskedSettings(UpdateSettings):
    """What the masked methods share."""

    sparsity: Annotated[float, Field(ge=0, lt=1)]
    """Share of the weights of each layer that is removed; 0.5 keeps half of them."""

    scope: Scope = "layer"
    """What the share is of: each layer, or ``global``: all masked weights, ranked together by one threshold."""

    sparsity_schedule: SparsitySchedule | None = None
    """Sparsity over the epochs, with ``sparsity`` as its end; unset: constant."""

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

    @field_validator("sparsity_schedule")
    @classmethod
    def _constant_is_none(cls, value: SparsitySchedule | None) -> SparsitySchedule | None:
        return None if value is not None and value.shape == "constant" else value  # one trial, one id

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


class MagnitudeSettings(SparseSettings):
    """Gradual magnitude pruning: SGD on the weights, of which the smallest are removed by a cubic ramp."""

    IMPLEMENTATION = "suite.methods.magnitude:Magnitude"

    name: Literal["magnitude"]
    """Gradual magnitude pruning (Zhu and Gupta 2017)."""

    scope: Scope = "layer"
    """What loses the share: each layer, or ``global``: all layers together."""

    begin_epoch: Natural = 0
    """Epochs before the ramp."""

    end_epoch: Count
    """Epochs before the mask stays as it is: the end of the ramp."""

    prune_every: Count = 100
    """Optimizer steps between two prunings; the last one is at the end of the ramp."""

    @field_validator("end_epoch")
    @classmethod
    def _ramp_rises(cls, value: int, info: ValidationInfo) -> int:
        if value < (begin := info.data.get("begin_epoch", 0)):
            raise ValueError(f"must be at least begin_epoch ({begin})")
        return value

    def schedule_epochs(self, epochs: int) -> int:
        """All of them.

        Raises:
            ValueError: the ramp is longer.
        """
        if self.end_epoch > epochs:
            raise ValueError(f"must be at least method.end_epoch ({self.end_epoch})")
        return epochs


class ImpSettings(SparseSettings):
    """Iterative magnitude pruning with rewinding: SGD on the weights in rounds, which each have fewer of them."""

    IMPLEMENTATION = "suite.methods.imp:Imp"

    name: Literal["imp"]
    """Iterative magnitude pruning with rewinding (Frankle and Carbin 2019; Frankle et al. 2020)."""

    rounds: Annotated[int, Field(ge=2)]
    """How often the network is trained; ``epochs`` is of all rounds together, and a multiple of their number."""

    scope: Scope = "layer"
    """What loses the share: each layer, or ``global``: all layers together."""

    rewind_epoch: Natural = 0
    """Epochs of the first round after which the weights are kept to go back to; 0: the initial weights."""

    def schedule_epochs(self, epochs: int) -> int:
        """Those of a round.

        Raises:
            ValueError: rounds do not have equally many, or end before the weights are kept.
        """
        if epochs % self.rounds:
            raise ValueError(f"must be a multiple of method.rounds ({self.rounds})")
        if self.rewind_epoch >= epochs // self.rounds:
            least = self.rounds * self.rewind_epoch
            raise ValueError(f"must be more than method.rounds * method.rewind_epoch ({least})")
        return epochs // self.rounds


class BiPropSettings(MaskedSettings):
    """Biprop: edge-popup whose weights are signs, times one magnitude for each layer."""

    IMPLEMENTATION = "suite.methods.biprop:BiProp"
    name: Literal["biprop"]
    """Biprop (Diffenderfer and Kailkhura 2021)."""
    distribution: Distribution = "kaiming_normal"
    """Distribution of the random weights behind the signs. With ``signed_constant`` the method is edge-popup."""
    rank_by: RankBy = "abs_scores"
    """What ranks weights: the absolute values of the scores, or the scores."""


class FrozenSettings(MaskedSettings):
    """Partially frozen networks: edge-popup, or IteRand, over the weights that the seed has not decided about."""

    IMPLEMENTATION = "suite.methods.frozen:Frozen"
    name: Literal["frozen"]
    """Partially frozen networks (Otsuka et al. 2024)."""

    scope: Literal["layer"] = "layer"
    """What the share is of: each layer, where frozen weights are counted too."""
    frozen_removed: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of each layer's weights that is removed for ever, at most ``sparsity``; unset: half of it."""
    frozen_kept: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of each layer's weights that is kept for ever, at most 1 - ``sparsity``; unset: half of it."""
    rerandomize_every: Count = 300
    """Optimizer steps between two redraws."""
    rerandomize_prob: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that a redraw replaces a pruned free weight; 0: no redraws."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        for key, most in (("frozen_removed", self.sparsity), ("frozen_kept", 1 - self.sparsity)):
            share = getattr(self, key)
            if share is not None and share > most + 1e-9:
                raise ValueError(f"{key} must be at most {most:g}, it is {share:g}: sparsity is {self.sparsity:g}")
        return self
