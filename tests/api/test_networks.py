"""The network of a trial, from its id."""

from pathlib import Path

import pytest
import torch
from support.fake_results import create_trial_folder, write_result
from support.sweep_files import AXES, Load

import suite
from suite import models
from suite.config import Trial
from suite.records.ledger import Ledger
from suite.testing.method.cases import fingerprint

LEDGER = Ledger(Path("results"))


@pytest.fixture
def trials(load: Load) -> list[Trial]:
    return list(load(AXES).trials.values())


def build() -> torch.nn.Module:
    return models.build("conv2", num_classes=3, image_size=8, in_channels=1, width_mult=0.0625)


def test_a_ticket(trials: list[Trial]) -> None:
    model, trial_id = build(), trials[1].trial_id
    folder = create_trial_folder(LEDGER, trial_id)
    suite.save_ticket(model, suite.EdgePopup(suite.prunable(model), sparsity=0.5, lr=1.0), folder / "network.ticket")
    for name in (trial_id, trial_id[:6]):
        loaded = suite.load_network(name, device="cpu")
        assert not loaded.training
        assert fingerprint(dict(loaded.state_dict())) == fingerprint(dict(model.state_dict()))


def test_a_trial_that_is_none_or_has_no_network_is_a_mistake(trials: list[Trial]) -> None:
    for trial in trials[:2]:
        write_result(LEDGER, trial)
    with pytest.raises(
        suite.InputError, match=r"^'zz': is the id of none of the 2 trials in results/trials: suite\.res"
    ):
        suite.load_network("zz")
    with pytest.raises(suite.InputError, match=r"^'': is the id of none"):
        suite.load_network("")
    with pytest.raises(suite.InputError, match=r"is the id of none of the 0 trials in nowhere/trials"):
        suite.load_network("zz", "nowhere")
    with pytest.raises(suite.InputError, match=r"has no network: it has not finished, or has keep_network: false$"):
        suite.load_network(trials[0].trial_id)
    for name in ("ab1", "ab2"):
        (LEDGER.root / "trials" / name).mkdir()
    with pytest.raises(suite.InputError, match=r"^'ab': begins the ids of 2 trials in results/trials"):
        suite.load_network("ab")


def test_a_damaged_file_is_an_error_of_tickets(trials: list[Trial]) -> None:
    (create_trial_folder(LEDGER, trials[0].trial_id) / "network.ticket").write_bytes(b"x")
    with pytest.raises(suite.TicketError, match=r"network\.ticket: "):
        suite.load_network(trials[0].trial_id)
