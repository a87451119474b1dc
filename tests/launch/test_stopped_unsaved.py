"""What several processes say where they stop and the disk has no room for a checkpoint."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.disks import fill
from support.trial_processes import trial_of

from suite.launch import local
from suite.records import read_metrics
from suite.stopping import Stopped

LOST = r"stopped at step \d+; not saved \(No space left on device\): the same command resumes from the first epoch"


@pytest.mark.slow
def test_ranks_that_stop_on_a_full_disk(disk: Callable[[int], Path], capfd: pytest.CaptureFixture[str]) -> None:
    """All ranks say what rank 0 knows, and so does the process that started them."""
    folder = disk(400) / "x"
    folder.mkdir()
    fill(folder.parent, leave=32)  # a checkpoint has 40
    trial = trial_of("edge_popup", model={"name": "conv2", "width_mult": 0.0625}, processes=2, epochs=10_000)
    with pytest.raises(Stopped) as stopped:
        local.run(trial, folder, data_dir=None, should_stop=lambda: bool(read_metrics(folder)))
    assert re.fullmatch(LOST, str(stopped.value))
    said = capfd.readouterr().err
    assert said.count(str(stopped.value)) >= 2 and len(set(re.findall(r"stopped at.*", said))) == 1
    assert "Traceback" not in said
