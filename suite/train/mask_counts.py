"""What the masks of a trial remove, layer by layer."""

from torch import Tensor

from suite.methods.update.plain import num_pruned
from suite.records import LayerMask
from suite.train.setup import Run


def masks_of(run: Run) -> list[tuple[Tensor, Tensor]]:
    """The masked parameters, each with its present mask; none of a method without masks."""
    if not run.optimizer.masked:
        return []
    if all_at_once := getattr(run.optimizer, "masks", None):  # a plugin may have none
        return list(all_at_once())
    groups = [group for group in run.optimizer.param_groups if group["sparsity"] is not None]
    return [(param, run.optimizer.mask(param)) for group in groups for param in group["params"]]


def uneven_layers(run: Run) -> list[LayerMask]:
    """The masked layers, in the optimizer's order, where their shares differ by more than the rounding of counts."""
    names = {id(param): name for name, param in run.model.named_parameters()}
    found = [
        LayerMask(name=names[id(param)], weights=mask.numel(), kept=int(mask.sum())) for param, mask in masks_of(run)
    ]
    counts = [(layer.weights - layer.kept, layer.weights - 1) for layer in found if layer.weights > 1]
    least = max(((removed - 0.5) / most for removed, most in counts), default=0.0)
    greatest = min(((removed + 0.5) / most for removed, most in counts), default=1.0)
    return found if least > greatest + 1e-12 else []


def num_kept_in_addition(run: Run) -> int:
    """Weights that are kept so that no layer is empty, beyond the share that a threshold over all layers keeps."""
    groups = [g for g in run.optimizer.param_groups if g.get("scope") == "global" and g["sparsity"] is not None]
    found, kept = masks_of(run) if groups else [], 0
    for group in groups:
        own = {id(param) for param in group["params"]}
        masks = [mask for param, mask in found if id(param) in own]
        total = sum(mask.numel() for mask in masks)
        kept += num_pruned(total, group["sparsity"]) - sum(int((~mask).sum()) for mask in masks)
    return kept
