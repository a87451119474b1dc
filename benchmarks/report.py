"""How benchmarks say where their numbers come from, and keep them."""

import os
from importlib import metadata

import pandas as pd
import torch

from suite.records import provenance


def header(device: torch.device, how: str) -> str:
    """Hardware, versions and how was measured: the lines above a table."""
    packages = [name for name in ("torch", "numpy", "numba", "triton") if _version(name)]
    told = ", ".join(f"{name} {_version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0))
    threads = f"{cores} CPUs, {torch.get_num_threads()} thread(s)"
    kind = f" (CUDA {torch.version.cuda})" if device.type == "cuda" else ""
    return f"{provenance.device_name(device)}{kind}, {threads}; {told}.\n{how}.\n"


def write_table(table: pd.DataFrame, out: str | None) -> None:
    """Print a table as Markdown, and write it to ``out``.csv."""
    table = table.fillna("")
    print(table.to_markdown(index=False, floatfmt=".3g"), flush=True)
    print()
    if out:
        table.to_csv(f"{out}.csv", index=False, float_format="%.5g")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
