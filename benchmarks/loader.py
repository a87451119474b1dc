"""What loading ImageNet costs: ``python -m benchmarks.loader``.

Every loader makes the same training batches (random resized crops, antialiased, flipped, float32, normalized) of one
tree of photos, in turns. A round leaves out the first batches, until queues are full. CPU-seconds are those of this
process, its threads and its workers. Below: how much of a training epoch the loop waits for images, real and synthetic.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from suite.config import ImageNetSettings, Trial
from suite.data.imagenet import loaders, pack, scan, tree
from suite.data.imagenet.torchvision_loader import FolderData
from suite.data.interface import Data
from suite.records import provenance, read_metrics
from suite.train import train
from tests.support.photos import write_tree

BATCH = 64
VAL_SHARE = 0.05
WARM_UP, MEASURED = 4, 12  # batches
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--root", type=Path, help="a scanned tree; default: photos made for the purpose")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="of DALI, and workers; default: %(default)s")
    args = parser.parse_args()
    torch.set_num_threads(1)  # as in a trial; else the loader without workers has more than one
    with tempfile.TemporaryDirectory() as scratch:
        root = args.root or _made(Path(scratch) / "tree")
        shards = Path(scratch) / "shards"
        pack.main([str(root), str(shards), "--shard-mb", "16", "--val-share", str(VAL_SHARE)])
        print(_hardware(args))
        print(pd.DataFrame(_loaders(root, shards, args)).to_markdown(index=False, floatfmt=".3g"))
        print(pd.DataFrame(_trainer(root, shards, args)).to_markdown(index=False, floatfmt=".3g"))


def _made(root: Path) -> Path:
    write_tree(root, {"train": 200, "val": 10})
    scan.main([str(root)])
    return root


def _hardware(args: argparse.Namespace) -> str:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    versions = provenance.versions()
    told = ", ".join(f"{name} {versions[name]}" for name in ("torch", "torchvision", "pillow", "nvidia-dali-cuda130"))
    cores = len(os.sched_getaffinity(0))
    return (
        f"{provenance.device_name(device)}, {cores} CPUs; {told}.\n"
        f"Batches of {BATCH}, 224 pixels; {MEASURED} batches a round, medians of {args.rounds} rounds in turns.\n"
    )


def _loaders(root: Path, shards: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    candidates = dict(_candidates(root, shards, args.threads))
    figures: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(args.rounds):
        for name, data in candidates.items():
            figures[name].append(_round(data, number))
    base = figures[f"torchvision, {args.threads} workers"]
    rows = []
    for name, found in figures.items():
        per_cpu = [images for images, _ in found]
        rows.append(
            {
                "loader": name,
                "images per CPU-second": statistics.median(per_cpu),
                "from": min(per_cpu),
                "to": max(per_cpu),
                "ratio to torchvision": statistics.median(
                    mine / theirs for (mine, _), (theirs, _) in zip(found, base, strict=True)
                ),
                "images per second": statistics.median(images for _, images in found),
            }
        )
    return rows


def _candidates(root: Path, shards: Path, threads: int) -> Iterator[tuple[str, Data]]:
    cpu = torch.device("cpu")
    yield f"DALI on the CPU, files, {threads} threads", _data(root, "files", threads, cpu)
    yield f"DALI on the CPU, tar, {threads} threads", _data(shards, "tar", threads, cpu)
    if torch.cuda.is_available():
        yield f"DALI on the GPU, files, {threads} threads", _data(root, "files", threads, torch.device("cuda", 0))
    settings = _settings(root, "files", threads)
    files = tree.read(settings, root)
    for workers in sorted({0, 2, threads}):
        folder = FolderData(files, settings, device=cpu, channels_last=True, workers=workers)
        yield f"torchvision, {workers} workers", folder


def _settings(root: Path, storage: Any, threads: int) -> ImageNetSettings:
    return ImageNetSettings(
        name="imagenet", root=str(root), storage=storage, val_share=VAL_SHARE, loader_threads=threads
    )


def _data(root: Path, storage: str, threads: int, device: torch.device) -> Data:
    return loaders.make(
        _settings(root, storage, threads), root, device=device, channels_last=True, should_stop=lambda: False
    )


def _round(data: Data, epoch: int) -> tuple[float, float]:
    """Images per CPU-second and per second."""
    batches = data.train_batches(1, epoch, BATCH)
    for _ in range(WARM_UP):
        next(batches)
    cpu, wall = _cpu_seconds(), time.perf_counter()
    for _ in range(MEASURED):
        next(batches)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
    batches.close()  # type: ignore[attr-defined]
    return MEASURED * BATCH / cpu, MEASURED * BATCH / wall


def _cpu_seconds() -> float:
    """Used so far by this process and those that it started, which live."""
    parent, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parent[pid], used[pid] = int(words[1]), (int(words[11]) + int(words[12])) / _TICKS

    def ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parent and ours(parent[pid]))

    return sum(seconds for pid, seconds in used.items() if ours(pid))


def _trainer(root: Path, shards: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    images: dict[str, dict[str, Any]] = {
        "synthetic": {"loader": "synthetic", "num_images": 1200},
        "DALI, files": {"root": str(root)},
        "DALI, tar": {"root": str(shards), "storage": "tar"},
        "torchvision": {"loader": "torchvision", "root": str(root)},
    }
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seed in range(3):
        for name, choice in images.items():
            found[name].append(_epoch(choice, seed, args.threads))
    return [
        {
            "images": name,
            "share of the epoch spent waiting": statistics.median(line["wait_share"] for line in lines),
            "images per second": statistics.median(line["images_per_second"] for line in lines),
        }
        for name, lines in found.items()
    ]


def _epoch(choice: dict[str, Any], seed: int, threads: int) -> dict[str, Any]:
    """The line of one epoch of a small ResNet18 at 224 pixels."""
    dataset = {"name": "imagenet", "val_share": VAL_SHARE, "loader_threads": threads, **choice}
    settings = {
        "dataset": dataset,
        "model": {"name": "resnet18", "width_mult": 0.25},
        "method": {"name": "iterand", "lr": 0.1, "sparsity": 0.7},
        "seed": seed,
        "epochs": 1,
        "global_batch_size": BATCH,
        "evaluate_test": False,
        "channels_last": True,
        "resources": {"gpus": 1 if torch.cuda.is_available() else 0},
    }
    with tempfile.TemporaryDirectory() as folder:
        train(Trial.model_validate(settings), Path(folder))
        return read_metrics(Path(folder))[0]


if __name__ == "__main__":
    main()
