"""Nets and batches, and the ways to train them, as benchmarks of whole steps compare them."""

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.layer_form import in_layer_form
from suite import config, methods, models
from suite.testing.subject import value_of

SGD = "SGD"
FUSED = "SGD(fused=True)"
ITERAND = "IteRand"
WAYS = (SGD, FUSED, "edge-popup", "edge-popup, signs packed", ITERAND, "layers, threshold", "layers, sort")
SPARSITY = 0.6
_DENSE_LR, _MASKED_LR = 0.01, 0.1  # nets without norm do not bear more on noise
_SETTINGS: dict[str, Any] = {"momentum": 0.9, "weight_decay": 5e-4}
_NUM_BATCHES = 8


@dataclass(frozen=True)
class Row:
    """A net and a batch; IteRand redraws every ``every`` steps."""

    net: str
    width: float
    size: int
    batch: int
    channels: int = 3
    every: int = 300
    device: str = "cpu"
    compiled: bool = False

    @property
    def name(self) -> str:
        """As tables have it."""
        said = f"{self.net} x{self.width:g}, {self.size} px, batch {self.batch}" + ", bf16" * (self.device == "cuda")
        return said + ", compiled" * self.compiled

    @property
    def is_here(self) -> bool:
        """Whether this machine has the row's device."""
        return self.device == "cpu" or torch.cuda.is_available()


CPU_ROWS = [
    Row("conv2", 0.0625, 8, 64, channels=1, every=30),  # the default study's narrowest and widest net
    Row("conv2", 0.25, 8, 64, channels=1, every=30),
    Row("conv6", 0.25, 32, 128),
    Row("resnet18", 0.25, 32, 32),
    Row("conv6", 1, 32, 128),
    Row("resnet18", 1, 32, 32),
    Row("resnet50", 1, 224, 8),
]
GPU_ROWS = [
    Row("conv6", 1, 32, 128, device="cuda"),
    Row("resnet18", 1, 32, 128, device="cuda"),
    Row("resnet50", 1, 224, 256, device="cuda"),
]


class Trainer:
    """One way to train one net on batches of noise, as the trainer of trials does it."""

    def __init__(self, row: Row, way: str) -> None:
        self.row, self.device = row, torch.device(row.device)
        classes = 1000 if row.size == 224 else 10
        torch.manual_seed(0)
        self.model = models.build(
            row.net,
            num_classes=classes,
            image_size=row.size,
            in_channels=row.channels,
            width_mult=row.width,
            norm_affine=way in (SGD, FUSED) or (way in methods.names() and methods.trains_weights(methods.get(way))),
        ).to(self.device)
        shape = (row.batch, row.channels, row.size, row.size)
        batches = [torch.randn(shape, device=self.device) for _ in range(_NUM_BATCHES)]
        labels = [torch.randint(classes, (row.batch,), device=self.device) for _ in range(_NUM_BATCHES)]
        form = torch.contiguous_format
        if self.device.type == "cuda":
            form = torch.channels_last
            self.model.to(memory_format=form)  # type: ignore[call-overload]
            torch.backends.cudnn.benchmark = True
        images = [batch.to(memory_format=form) for batch in batches]
        self.batches = cycle(list(zip(images, labels, strict=True)))
        self.optimizer = self._optimizer(way)
        self._forward = torch.compile(self.model, dynamic=False) if row.compiled else self.model

    def _optimizer(self, way: str) -> torch.optim.Optimizer:
        if way in (SGD, FUSED):
            fused = True if way == FUSED else None
            return torch.optim.SGD(self.model.parameters(), lr=_DENSE_LR, **_SETTINGS, fused=fused)
        if way.startswith("layers"):
            in_layer_form(self.model, SPARSITY, "sort" if way == "layers, sort" else "threshold").to(self.device)
            scores = [param for name, param in self.model.named_parameters() if name.endswith("scores")]
            return torch.optim.SGD(scores, lr=_MASKED_LR, **_SETTINGS, fused=True)
        params = methods.prunable(self.model)
        trained = {name for name, _ in params}
        for name, param in self.model.named_parameters():
            param.requires_grad_(name in trained)
        settings = {"sparsity": SPARSITY, "lr": _MASKED_LR, "pack_signs": way.endswith("packed"), **_SETTINGS}
        if way == ITERAND:
            settings["rerandomize_every"] = self.row.every
        if way in methods.names():
            return self._of_a_method(way)
        method = methods.get("iterand" if way == ITERAND else "edge_popup")
        optimizer: torch.optim.Optimizer = method(params, **settings)
        return optimizer

    def _of_a_method(self, name: str) -> torch.optim.Optimizer:
        """A registered method with its own defaults, which works periodically every ``every`` steps; its norms too."""
        cls, params = methods.get(name), methods.prunable(self.model)
        fields = config.METHODS[name].model_fields
        settings = {key: value_of(field) for key, field in fields.items() if field.is_required() and key != "name"}
        settings |= {"lr": _MASKED_LR, "sparsity": SPARSITY, **_SETTINGS}
        settings |= {key: self.row.every for key in fields if key.endswith("_every")}
        trained = {name for name, _ in params}
        others = [(name, param) for name, param in self.model.named_parameters() if name not in trained]
        groups: list[dict[str, Any]] = [{"params": params}]
        if methods.trains_weights(cls):
            settings["lr"] = _DENSE_LR
            groups += [{"params": others, "sparsity": None}]
        else:
            for _, param in others:
                param.requires_grad_(False)
        optimizer: torch.optim.Optimizer = cls(groups, **settings)
        return optimizer

    @property
    def num_weights(self) -> int:
        """Those of convolutions and linear layers."""
        return sum(param.numel() for _, param in methods.prunable(self.model))

    def gradients(self) -> Tensor:
        """Forward and backward on the next batch; the loss."""
        return self.gradients_of(*next(self.batches))

    def gradients_of(self, images: Tensor, labels: Tensor) -> Tensor:
        """Forward and backward on images (B, C, H, W) with labels (B,); the loss."""
        is_gpu = self.device.type == "cuda"
        with torch.autocast("cuda", dtype=torch.bfloat16) if is_gpu else nullcontext():
            loss = cross_entropy(self._forward(images), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def step(self) -> None:
        """One training step."""
        self.gradients()
        self.optimizer.step()

    def set_redraw(self, follows: bool) -> None:
        """Whether IteRand's next update begins with a redraw; if not, none of the next ``every`` - 1 does."""
        for group in self.optimizer.param_groups:
            if "num_updates" in group:
                group["num_updates"] = self.row.every - 1 if follows else 0
