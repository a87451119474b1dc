"""What the jobs of a trial or a pack leave, and who removes it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite.launch.job_chain import JobChain


@pytest.mark.parametrize("place", ["ours", "the results that ours were copied from", "what a record may say"])
def test_the_log_of_a_job_is_removed_in_our_folder_alone(tmp_path: Path, place: str) -> None:
    site: Any = SimpleNamespace(sweep="s", queue=tmp_path / "queue.json")
    jobs = JobChain(site, tmp_path / "ours/packs", "pack", {}, ())
    folders = {"ours": "ours/packs/job-5", "the results that ours were copied from": "first/packs/job-5"}
    log = tmp_path / folders.get(place, "home")
    log.mkdir(parents=True)
    (log / "5_0_log.out").write_text("epoch 1")
    jobs.record = jobs.record.model_copy(update={"folder": str(log)})
    jobs.remove_log()
    assert log.exists() == (place != "ours")
