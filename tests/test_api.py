"""What a user imports: it is light, it is named in one place, and it needs no trial."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import suite
import suite.__main__
from suite import config, methods, models
from suite.api import frames, networks, runs, sweeps
from suite.methods import edge_popup, iterand, weights
from suite.testing.method.cases import fingerprint

METHODS = ["EdgePopup", "IteRand", "Weights", "prunable", "trainable"]
TICKETS = ["TicketError", "load_network", "load_ticket", "save_ticket"]
SWEEPS = ["InputError", "epochs", "load_sweep", "results", "run", "use_plugins"]
PUBLIC = sorted(METHODS + TICKETS + SWEEPS)
IMPORTS = """
import sys, time
start = time.process_time()
import suite
print(time.process_time() - start, len({"torch", "numpy", "pydantic"} & sys.modules.keys()))
from suite import EdgePopup, IteRand, Weights, load_ticket, prunable, save_ticket
from suite import InputError, epochs, load_network, load_sweep, results, run, use_plugins
"""


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def trained(model: nn.Module) -> suite.IteRand:
    optimizer = suite.IteRand(suite.prunable(model), sparsity=0.5, lr=1.0, rerandomize_every=2, seed=1)
    images = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(6):
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
    return optimizer


def test_public_names_stay() -> None:
    """One that is renamed or removed keeps working, with a warning, for one release: see docs/reference/api.md."""
    assert suite.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(suite)) and suite.__version__


def test_names_are_those_of_their_modules() -> None:
    assert suite.Weights is methods.Weights is weights.Weights
    assert suite.EdgePopup is methods.EdgePopup is edge_popup.EdgePopup
    assert suite.IteRand is methods.IteRand is iterand.IteRand
    assert suite.prunable is methods.prunable
    assert (suite.save_ticket, suite.load_ticket) == (networks.save_ticket, networks.load_ticket)
    assert suite.load_network is networks.load_network and suite.InputError is config.InputError
    assert (suite.load_sweep, suite.run) == (sweeps.load_sweep, runs.run)
    assert (suite.results, suite.epochs) == (frames.results, frames.epochs)


@pytest.mark.parametrize("package", [suite, methods])
def test_another_name_is_no_attribute(package: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Supermask'"):
        package.Supermask  # type: ignore[attr-defined] # noqa: B018
    assert not hasattr(package, "EdgePopop")


def test_the_import_is_light(repository: Path) -> None:
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    seconds, heavy = done.stdout.split()
    assert heavy == "0" and float(seconds) < 0.05


def test_a_ticket_of_a_loop_of_ones_own(tmp_path: Path) -> None:
    model, other = network(), network()
    optimizer = trained(model)
    stored = suite.save_ticket(model, optimizer, tmp_path / "net.ticket")
    assert stored.bytes == (tmp_path / "net.ticket").stat().st_size
    loaded = suite.load_ticket(str(tmp_path / "net.ticket"), other)
    assert loaded is other and not loaded.training
    assert fingerprint(dict(loaded.state_dict())) == fingerprint(dict(model.state_dict()))


def test_a_network_of_the_suite_is_built_from_its_ticket(tmp_path: Path) -> None:
    model = models.build("conv2", num_classes=3, image_size=8, in_channels=1, width_mult=0.0625)
    optimizer = suite.EdgePopup(suite.prunable(model), sparsity=0.5, lr=1.0)
    suite.save_ticket(model, optimizer, tmp_path / "net.ticket")
    loaded = suite.load_ticket(tmp_path / "net.ticket", device="cpu")
    assert fingerprint(dict(loaded.state_dict())) == fingerprint(dict(model.state_dict()))


def test_mistakes_are_named(tmp_path: Path) -> None:
    model = network()
    with pytest.raises(ValueError, match="Weights has no masks"):
        suite.save_ticket(model, suite.Weights(model.parameters(), lr=0.1), tmp_path / "net.ticket")
    with pytest.raises(ValueError, match="masked parameters are not of this network"):
        suite.save_ticket(network(), trained(model), tmp_path / "net.ticket")
    with pytest.raises(suite.TicketError, match=r"net\.ticket: No such file or directory|is no file"):
        suite.load_ticket(tmp_path / "net.ticket")
    suite.save_ticket(model, trained(model), tmp_path / "net.ticket")
    with pytest.raises(suite.TicketError, match="give that network to load"):
        suite.load_ticket(tmp_path / "net.ticket")


def test_the_commands_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert suite.__main__.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("  ")}
    root = Path(suite.__file__).parents[1]
    there = {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__main__")
        for package in ("suite", "analysis")
        for file in (root / package).rglob("*.py")
        if 'if __name__ == "__main__":' in (text := file.read_text()) and "is now python -m" not in text
    }
    assert listed.keys() == there - {"suite", "suite.train.calibrate"}  # the sweep's own
    assert listed["suite.sweep"] == "Run a sweep"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        suite.__main__.main(["--version"])
    assert capsys.readouterr().out == f"random-pruning-suite {suite.__version__}\n"
