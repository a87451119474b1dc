"""The sweeps and cluster profiles that come with the suite, found from any folder."""

import os
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Shipped:
    """The files of one kind.

    Args:
        checkout: the folder of a checkout that has them.
        wheel: where the wheel puts them, in the package.
    """

    checkout: str
    wheel: str

    @property
    def folder(self) -> Path:
        """Where they are: in the package, or beside it in a checkout."""
        installed = _PACKAGE / self.wheel
        return installed if installed.is_dir() else _PACKAGE.parent / self.checkout

    @property
    def files(self) -> dict[str, Path]:
        """By the name below the folder, without ``.yaml``: ``study/fashion_width``."""
        found = sorted(self.folder.rglob("*.yaml"))
        return {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in found}

    def find(self, given: str | Path) -> Path | None:
        """The file that is meant, spelled with or without the folder and ``.yaml``: ``sweeps/NAME.yaml``, ``NAME``."""
        parts = Path(given).parts
        for folder in (self.checkout, self.wheel):
            if folder in parts[:-1]:
                parts = parts[len(parts) - parts[::-1].index(folder) :]
        name = "/".join(parts)
        name = name.removesuffix(".yaml")
        files = self.files
        return files.get(name) or next((path for path in files.values() if path.stem == name), None)

    def spelling(self, path: Path) -> str:
        """How a command finds a file from any folder, where it is one of these; else its path, as it is."""
        try:
            return f"{self.checkout}/{path.resolve().relative_to(self.folder.resolve()).as_posix()}"
        except (ValueError, OSError, RuntimeError):
            return str(path)


SWEEPS = Shipped(checkout="sweeps", wheel="sweeps")
PROFILES = Shipped(checkout="slurm", wheel="profiles")


def resolve(given: Path, kind: Shipped) -> Path:
    """The file itself where there is one, as NAME or NAME.yaml; else the shipped one that is meant, or ``given``."""
    beside = given.with_name(f"{given.name}.yaml") if given.name else given
    here = next((path for path in (given, beside) if os.path.lexists(path) and not os.path.isdir(path)), None)
    return here or (given if os.path.isdir(given) else kind.find(given) or given)
