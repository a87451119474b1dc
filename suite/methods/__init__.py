"""Methods: each one is a ``torch.optim.Optimizer`` over an unmodified dense model.

The contract, which ``tests/methods/test_contract_*.py`` holds every registered method to:

1. A subclass of ``torch.optim.Optimizer``; the model knows nothing of masks. ``cls.masked`` says whether it has masks;
   what is said of masks below holds where it is true. ``cls.trains_weights`` says whether it trains the weights
   themselves; a class without it does where it is not masked. Trials train norms and biases by default where it does.
2. After construction, after every ``step()`` and after ``load_state_dict()`` a masked parameter holds its
   effective weight ``theta * mask`` (pruned positions are +0.0, by a select), so ``model(x)``,
   ``model.state_dict()`` and evaluation need no special case. Where weights are trained, the parameter is theta: the
   state of the model restores it, as with ``torch.optim.SGD``, and the optimizer restores the mask.
   In a masked group every parameter has ``ndim >= 2``; another one is an error that names it and both cures:
   ``prunable(model)``, or a group with ``sparsity=None``, which plain SGD trains in the same step. What is not passed,
   or requires no gradient, is not touched; what is passed twice is stepped once. ``fan_in`` may be set per group, and
   comes with the pairs of ``prunable``.
3. ``state[p]["theta" | "scores" | "momentum_buffer"]`` have the logical shape of ``p``, float32 at least.
   They are saved and restored in exactly their dtypes. Counters live in ``param_groups[i]["num_updates"]``.
   The mask is recomputed from the scores; no state of a random generator exists. Where weights are trained,
   ``state[p]["mask" | "momentum_buffer"]`` take their place: bool, and in the dtype of ``p``.
4. Random draws are a pure function of (seed, stream, draw number, parameter position, logical index).
   Positions begin at ``first_parameter``.
5. ``load_state_dict(state_dict())``, then n steps, equals n steps bit for bit. A state loads any number of
   times, also into copies, and every setting of every group comes back.
6. Equal gradients and equal seeds give equal bits on every rank and in every memory format. A step that a gradient
   scaler skips does not count.
7. The learning rate is read from ``param_groups`` at each step, as in any torch optimizer; closures work.
   A setting that is out of range then is an error before anything changes.
8. A masked parameter that somebody else changed, replaced or parametrized since the last step is an error that
   names it and the cure; where weights are trained, a change of pruned positions is. Lazy, sharded (DTensor) and
   complex weights are refused by name.

9. What a trial alone knows are arguments of the constructor that are no settings: ``steps_per_epoch``, and
   ``num_steps`` of the whole training. A method that does something between epochs has
   ``start_epoch(epoch, num_epochs)``, which a training loop calls before the first step of each; a second call with the
   same state changes nothing.

A method is such a class and a settings class, with the same keys and defaults as the constructor, whose
``IMPLEMENTATION`` names it. Those of the suite are listed in ``suite.config.registry``; a package of your own names its
settings class in the entry points ``suite.methods`` (docs/how-to/own_method.md).
"""

import importlib
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from suite import config
from suite.methods.weight_matrices import prunable, trainable

if TYPE_CHECKING:
    from suite.methods.biprop import BiProp
    from suite.methods.edge_popup import EdgePopup
    from suite.methods.frozen import Frozen
    from suite.methods.imp import Imp
    from suite.methods.iterand import IteRand
    from suite.methods.magnitude import Magnitude
    from suite.methods.random_mask import RandomMask
    from suite.methods.recycle import Recycle
    from suite.methods.weights import Weights

__all__ = [
    "BiProp",
    "EdgePopup",
    "Frozen",
    "Imp",
    "IteRand",
    "Magnitude",
    "RandomMask",
    "Recycle",
    "Weights",
    "get",
    "names",
    "prunable",
    "trainable",
    "trains_weights",
]
_DEFINED_IN = {
    "BiProp": "biprop",
    "EdgePopup": "edge_popup",
    "Frozen": "frozen",
    "Imp": "imp",
    "IteRand": "iterand",
    "Magnitude": "magnitude",
    "RandomMask": "random_mask",
    "Recycle": "recycle",
    "Weights": "weights",
}


def __getattr__(name: str) -> Any:
    """A public optimizer, imported when it is first used."""
    if name not in _DEFINED_IN:
        raise AttributeError(f"module 'suite.methods' has no attribute {name!r}")
    return getattr(importlib.import_module(f"suite.methods.{_DEFINED_IN[name]}"), name)


def names() -> tuple[str, ...]:
    """The registered methods, plugins included: those which have settings in ``suite.config``."""
    return tuple(config.METHODS)


def get(name: str) -> Any:
    """The optimizer class of method ``name``.

    Raises:
        ValueError: no such method.
        InputError: a plugin of this name cannot be loaded, or is no optimizer that says whether it is masked.
    """
    if name not in config.METHODS:
        why = config.REGISTRY.problem("method", name) or f"must be one of {', '.join(names())}"
        raise ValueError(f"method: {name!r}: {why}")
    entry = config.REGISTRY.find("method", name)
    cls = entry.load()
    if not (isinstance(cls, type) and issubclass(cls, Optimizer) and isinstance(getattr(cls, "masked", None), bool)):
        raise config.InputError(
            f"method {name}: {entry.origin}: {entry.settings.IMPLEMENTATION}: must be a torch.optim.Optimizer whose "
            "class attribute masked is True or False"
        )
    return cls


def trains_weights(method: type[Optimizer] | Optimizer) -> bool:
    """Whether a method trains the weights of a network, rather than masks over random ones."""
    return bool(getattr(method, "trains_weights", not getattr(method, "masked", False)))
