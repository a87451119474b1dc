"""Sizes of tickets of trained networks, against what their bits must take and against other ways to store them.

``python -m benchmarks.tickets [--out FILE] [--quick]``: trains Conv6, ResNet18 (CIFAR form) and ResNet50 (ImageNet
form) on scikit-learn's digits, resized for the last one, long enough for redraws to show; writes Markdown and CSV.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from benchmarks.report import header, write_table
from benchmarks.timing import timed
from suite import data, methods, models, tickets
from suite.config import DigitsSettings
from suite.tickets import NetworkMetadata, dense

CPU = torch.device("cpu")
ALL = ("signed_constant", "kaiming_uniform", "kaiming_normal")


class Net(NamedTuple):
    """What is trained: ``steps`` of ``batch`` images of ``size`` pixels, redraws every ``every`` steps."""

    name: str
    size: int
    classes: int
    sparsity: float
    steps: int
    batch: int
    every: int


NETS = (
    Net("conv6", 8, 10, 0.5, 600, 64, 10),
    Net("resnet18", 8, 10, 0.6, 400, 64, 10),
    Net("resnet50", 72, 1000, 0.7, 36, 16, 2),
)


def main() -> None:
    """Train, store, load, and write the tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.tickets", description=__doc__)
    parser.add_argument("--out", help="write FILE.csv and FILE-dense.csv")
    parser.add_argument("--quick", action="store_true", help="a few steps of Conv6 alone")
    args = parser.parse_args()
    print(header(CPU, "Times: CPU seconds of one call, the optimizer's state given; sizes in bytes"))
    nets = [NETS[0]._replace(steps=40)] if args.quick else NETS
    masked = [(net, name, kind) for net in nets for name in ("edge_popup", "iterand") for kind in ALL]
    write_table(pd.DataFrame([_ticket_row(*each) for each in masked]), args.out)
    rows = [row for net in nets if net.name != "resnet50" for row in _dense_rows(net)]
    write_table(pd.DataFrame(rows), args.out and f"{args.out}-dense")


def _ticket_row(net: Net, method: str, distribution: str) -> dict[str, object]:
    model, optimizer, accuracy = _trained(net, method, distribution)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.ticket"
        export = timed(lambda: tickets.save(path, model, optimizer), CPU)
        load = timed(lambda: tickets.load(path), CPU)
        info, back = tickets.info(path), tickets.load(path).state_dict()
    if not all(torch.equal(tensor, back[name]) for name, tensor in model.state_dict().items()):
        raise RuntimeError(f"{net.name}, {method}, {distribution}: came back as another network")
    parts, bound = info.stored.parts, info.entropy_bytes or 0.0
    num = sum(layer.num for layer in info.header.layers)
    redraws = info.header.sources[0].num_draws
    return {
        "network": net.name,
        "method": method,
        "distribution": distribution,
        "p": net.sparsity,
        "redraws": redraws,
        "test/top1": accuracy,
        "weights": str(num),
        "entropy": str(round(bound)),
        "mask": str(parts["mask"]),
        "theta": str(parts["theta"]),
        "mask and theta / entropy": f"{(parts['mask'] + parts['theta']) / bound:.4f}",
        "header": str(parts["header"]),
        "norms and biases": str(parts["tensors"]),
        "ticket": str(info.stored.bytes),
        "seeds and masks": str((redraws + 1) * (num // 8 + 8)),
        "fp32": str(info.header.dense_bytes),
        "export, s": export,
        "load, s": load,
    }


def _dense_rows(net: Net) -> list[dict[str, object]]:
    model, _, accuracy = _trained(net, "weights", "kaiming_uniform")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rows = []
    for form in dense.FORMS:
        model.load_state_dict(dense.rounded(state, form))
        size = len(dense.pack(state, form, method="weights", about=NetworkMetadata()))
        now = _accuracy(model, net)
        rows.append({"network": net.name, "form": form, "bytes": str(size), "test/top1": now, "change": now - accuracy})
    return rows


def _trained(net: Net, method: str, distribution: str) -> tuple[nn.Module, torch.optim.Optimizer, float]:
    torch.manual_seed(1)
    masked = method != "weights"
    model = models.build(net.name, num_classes=net.classes, image_size=net.size, in_channels=1, norm_affine=not masked)
    settings = (
        {"sparsity": net.sparsity, "lr": 1.0, "weight_decay": 0.003} if masked else {"lr": 0.02, "weight_decay": 1e-3}
    )
    if method == "iterand":
        settings |= {"rerandomize_every": net.every, "rerandomize_prob": 0.1}
    params = methods.prunable(model) if masked else list(model.named_parameters())
    optimizer = methods.get(method)(params, distribution=distribution, seed=1, **settings)
    images, labels = _images("train", net.size)
    order = torch.Generator().manual_seed(1)
    for step in range(net.steps):
        some = torch.randint(len(labels), (net.batch,), generator=order)
        for group in optimizer.param_groups:
            group["lr"] = settings["lr"] / 2 * (1 + torch.cos(torch.tensor(torch.pi * step / net.steps)).item())
        optimizer.zero_grad()
        cross_entropy(model(images[some]), labels[some]).backward()
        optimizer.step()
    return model, optimizer, _accuracy(model, net)


@torch.no_grad()
def _accuracy(model: nn.Module, net: Net) -> float:
    images, labels = _images("test", net.size)
    model.eval()
    hits = [(model(some).argmax(1) == own).sum() for some, own in zip(images.split(60), labels.split(60), strict=True)]
    return int(torch.stack(hits).sum()) / len(labels)


def _images(split: data.SplitName, size: int) -> tuple[Tensor, Tensor]:
    digits = data.load(DigitsSettings(name="digits"), data_dir=None, device=CPU)
    batches = list(digits.batches(split, 1000))
    images, labels = torch.cat([each for each, _ in batches]), torch.cat([each for _, each in batches])
    return images if size == 8 else interpolate(images, size=size, mode="bilinear"), labels


if __name__ == "__main__":
    main()
