"""``python -m suite.testing``: what it says of a method, a network and a data set with a fault, and of one without."""

import os
import re
import tempfile
from pathlib import Path

import pytest
from support.forked import fork_server

HEAD = """
from types import SimpleNamespace
from typing import Literal

import numpy as np
import torch
from torch import nn

from suite.config import ArraySettings, MaskedSettings, ModelSettings
from suite.data.sources import RawDataset, hold_out
from suite.methods.edge_popup import EdgePopup
"""
METHODS = """
class Plain(EdgePopup):
    "Right."

class Forgets(EdgePopup):
    "Every third step counts twice, by a counter that is in no state."

    def step(self, closure=None):
        self.calls = getattr(self, "calls", 0) + 1
        loss = super().step(closure)
        return super().step() if self.calls % 3 == 0 else loss

class Noisy(EdgePopup):
    "Adds noise of torch's own generator to gradients."

    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param.grad += torch.randn_like(param)
        return super().step(closure)
"""
MODELS = """
class Mlp(nn.Module):
    def __init__(self, size, hidden, num_classes):
        super().__init__()
        self.first, self.last = nn.Linear(size, hidden), nn.Linear(hidden, num_classes)

    def forward(self, images):
        return self.last(self.first(images.flatten(1)).relu())

class Centred(Mlp):
    def forward(self, images):
        return super().forward(images - images.mean(0))

class Idle(Mlp):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.idle = nn.Linear(3, 3)

def builder(cls):
    def build(*, num_classes, image_size, in_channels, width_mult, norm_affine):
        return cls(in_channels * image_size**2, int(64 * width_mult), num_classes)
    return build
"""
DATASETS = """
def read(settings, folder, rng=None, twice=0):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 20)
    images = random.integers(0, 256, (len(labels), 1, 8, 8), dtype=np.uint8)
    train, held_out = hold_out(np.arange(len(labels)), labels, 100)
    held_out = (rng or random).permutation(held_out)
    splits = {"train": np.sort(train), "val": np.sort(held_out[:50]), "test": np.sort(held_out[50 - twice :])}
    return RawDataset(images, labels, splits, num_classes=10)

def reader(**changes):
    return SimpleNamespace(files=lambda settings, folder: [], read=lambda *given: read(*given, **changes))

class Moves:
    "Another split at each read."

    @staticmethod
    def files(settings, folder):
        return []

    @staticmethod
    def read(settings, folder):
        return read(settings, folder, rng=np.random.default_rng())
"""
SETTINGS = '''
class {title}Settings({base}):
    """For a test."""
    IMPLEMENTATION = {code}
    name: Literal["{name}"]
'''
CASES = {  # of a kind: the base class, what is in the file, words of tests, by name: the code and the demand it breaks
    "method": (
        "MaskedSettings",
        METHODS,
        "resumed or torchs_generator",
        {
            "plain": ("Plain", None),
            "forgets": ("Forgets", "a resumed run equals an uninterrupted one"),
            "noisy": ("Noisy", "torchs generator is neither read nor moved"),
        },
    ),
    "model": (
        "ModelSettings",
        MODELS,
        "",
        {
            "mlp": ("builder(Mlp)", None),
            "centred": ("builder(Centred)", "a copy and a loaded state compute the same"),
            "idle": ("builder(Idle)", "images give logits and every parameter a gradient"),
        },
    ),
    "dataset": (
        "ArraySettings",
        DATASETS,
        "",
        {
            "fixed": ("reader()", None),
            "moves": ("Moves", "two reads give the same images and the same split"),
            "shares": ("reader(twice=3)", "the arrays are what a data set is"),
        },
    ),
}
EACH = [(kind, name) for kind, (_, _, _, cases) in CASES.items() for name in cases]


def report(kind: str, name: str, folder: Path) -> tuple[int, str]:
    """The exit status and the output of the command."""
    base, code, words, cases = CASES[kind]
    settings = SETTINGS.format(title=name.title(), base=base, code=cases[name][0], name=name)
    (folder / "own.py").write_text(HEAD + code + settings)
    with open(os.devnull, "r+b") as null, tempfile.TemporaryFile() as said:
        arguments = ["suite.testing", kind, name, "--plugin", "own.py", *(["-k", words] if words else [])]
        process = fork_server().start(arguments, dict(os.environ), folder, [null, said, said])
        status = process.wait(120)
        said.seek(0)
        return status, said.read().decode()


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_the_report_names_the_demand_that_is_broken(kind: str, name: str, tmp_path: Path) -> None:
    broken = CASES[kind][3][name][1]
    status, said = report(kind, name, tmp_path)
    failed = [line.split("FAIL")[1].partition("(")[0].strip() for line in said.splitlines() if "FAIL" in line]
    if broken is None:
        assert (status, failed) == (0, []), said
    else:
        assert status == 1 and broken in failed, said
    num, of = map(int, re.findall(r"^(\d+) of (\d+) demands are met", said, re.MULTILINE)[0])
    applying = [line for line in said.splitlines() if line.startswith(("  ok ", "  FAIL"))]
    assert (num, of) == (len(applying) - len(failed), len(applying))
    assert "Traceback" not in said
