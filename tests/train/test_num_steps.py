"""A method that asks for the number of all steps gets it from its trial."""

import pytest
from support.trial_processes import trial_of

from suite import data
from suite.config import Trial
from suite.train import setup


def built(trial: Trial) -> setup.Run:
    device = setup.configure_torch(trial)
    return setup.build(trial, data.load(trial.dataset, data_dir=None, device=device), device)


@pytest.mark.parametrize("batch", [64, 100])
def test_recycling_knows_when_its_trial_ends(batch: int) -> None:
    method = {"name": "recycle", "lr": 0.3, "sparsity": 0.5}
    trial = Trial.model_validate(trial_of("edge_popup").model_dump() | {"method": method, "global_batch_size": batch})
    run = built(trial)
    num = run.data.num_epoch_images(batch)
    assert num % batch  # the short last batch counts
    assert [group["num_steps"] for group in run.optimizer.param_groups] == [trial.epochs * (num // batch + 1)]
