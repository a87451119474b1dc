"""Packages with plugins, as pip installs them: from texts, and from the pages that say how to write one."""

import importlib
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.documents import blocks

from suite.config import REGISTRY, Trial

METHOD = '''
from typing import Literal
from suite.config import MaskedSettings

class PopSettings(MaskedSettings):
    """Edge-popup by another name."""
    IMPLEMENTATION = "PACKAGE.optimizer:Pop"
    RESULTS_VERSION = 1
    name: Literal["pop"]
'''
OPTIMIZER = '''
from suite.methods.edge_popup import EdgePopup

class Pop(EdgePopup):
    """Edge-popup by another name."""
'''
FILE = '''
from typing import Literal
from suite.config import MaskedSettings
from suite.methods.edge_popup import EdgePopup

class Quick(EdgePopup):
    """Edge-popup by another name."""

class QuickSettings(MaskedSettings):
    """Edge-popup by another name."""
    IMPLEMENTATION = Quick
    name: Literal["quick"]
'''

MINE = f'''
from torch import nn

from suite.config import Count, ModelSettings
{FILE.replace("Quick", "Mine").replace("quick", "mine")}

def line(*, num_classes, image_size, in_channels, width_mult, norm_affine, depth):
    hidden = int(64 * width_mult)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(in_channels * image_size**2, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
    )

class LineSettings(ModelSettings):
    """One hidden layer."""
    IMPLEMENTATION = line
    name: Literal["line"]
    depth: Count = 1
'''


def write_package(
    site: Path, modules: Mapping[str, str], entries: Mapping[str, Mapping[str, str]], name: str, version: str = "1.0"
) -> None:
    """Put a package into a folder as ``pip install --target`` does: its modules, and what its metadata says."""
    for path, text in modules.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in each.items()) for group, each in entries.items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


def write_method(site: Path, package: str = "popper", version: str = "1.0", settings: str = METHOD) -> None:
    """A package with the method ``pop``."""
    modules = {
        f"{package}/__init__.py": "",
        f"{package}/settings.py": settings.replace("PACKAGE", package),
        f"{package}/optimizer.py": OPTIMIZER,
    }
    write_package(site, modules, {"suite.methods": {"pop": f"{package}.settings:PopSettings"}}, package, version)


def write_example(site: Path, page: str) -> str:
    """The package that a page shows; its name."""
    shown = list(blocks(page))
    modules = {block.file: block.text for block in shown if block.language == "python" and block.file}
    (project,) = (tomllib.loads(block.text)["project"] for block in shown if block.language == "toml")
    write_package(site, modules, project["entry-points"], project["name"], project["version"])
    return str(project["name"])


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """This process finds the packages of a folder, and forgets them afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(site))
    look_again()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(site)):
                del sys.modules[name]
        look_again()


def look_again() -> None:
    importlib.invalidate_caches()
    REGISTRY.forget()
    Trial.model_rebuild(force=True)
