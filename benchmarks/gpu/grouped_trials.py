"""Several trials of one net as one program: a prototype, for part 4.

``torch.func.vmap`` over stacked parameters makes grouped convolutions of theirs. One optimizer updates all trials: its
parameters are slices of the stacked ones.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from benchmarks.trainers import Trainer
from suite import methods
from suite.methods.update.layout import match_strides

Named = dict[str, Tensor]


class GroupedTrials:
    """Trials as their trainers have them, all FUSED or all edge-popup; they take steps together."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self._trainers, self.device, self._num = trainers, trainers[0].device, len(trainers)
        self._model = trainers[0].model
        params, self._buffers = stack_module_state([trainer.model for trainer in trainers])
        params = {name: param.detach() for name, param in params.items()}
        trained = [name for name, param in self._model.named_parameters() if param.requires_grad]
        self._trained: Named = {name: params[name] for name in trained}
        self._fixed: Named = {name: params[name] for name in params.keys() - set(trained)}
        self._slices = {name: [nn.Parameter(one) for one in stacked] for name, stacked in self._trained.items()}
        self.optimizer = self._optimizer()
        self._gradients = vmap(grad_and_value(self._loss))

    def _optimizer(self) -> torch.optim.Optimizer:
        """One over the slices, with the settings of the trainers' own."""
        first = self._trainers[0].optimizer.param_groups[0]
        flat = [param for i in range(self._num) for param in (slices[i] for slices in self._slices.values())]
        if isinstance(self._trainers[0].optimizer, torch.optim.SGD):
            kept = ("lr", "momentum", "weight_decay", "fused")
            return torch.optim.SGD(flat, **{key: first[key] for key in kept})
        kept = ("sparsity", "lr", "momentum", "weight_decay")
        optimizer = methods.get("edge_popup")(flat, **{key: first[key] for key in kept})
        return optimizer  # type: ignore[no-any-return]

    def gradients(self) -> Tensor:
        """Forward and backward, a batch of its own for each trial; the losses (trials,)."""
        pairs = [next(trainer.batches) for trainer in self._trainers]
        images, labels = (torch.stack(tensors) for tensors in zip(*pairs, strict=True))
        is_gpu = self.device.type == "cuda"
        with torch.autocast("cuda", dtype=torch.bfloat16) if is_gpu else nullcontext():
            found, losses = self._gradients(self._trained, self._fixed, self._buffers, images, labels)
        for name, slices in self._slices.items():
            for param, grad in zip(slices, found[name], strict=True):
                param.grad = match_strides(param, grad)
        return losses  # type: ignore[no-any-return]

    def step(self) -> None:
        """One training step of each trial."""
        self.gradients()
        self.optimizer.step()

    def _loss(self, trained: Named, fixed: Named, buffers: Named, images: Tensor, labels: Tensor) -> Any:
        logits = functional_call(self._model, (trained, fixed, buffers), (images,))
        return cross_entropy(logits, labels)
