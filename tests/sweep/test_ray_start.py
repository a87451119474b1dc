"""Ray on a machine that is busy: its servers come late, or too late for each other."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite import own_code
from suite.sweep import ray_cluster, ray_monitor

# The first raylet does not come up; the real Ray, and what it leaves.
BROKEN = """
import os
from pathlib import Path
from suite.sweep import ray_cluster, ray_monitor, tune
ray = tune._import_ray()
services, starts = ray._private.services, []
start_raylet = services.start_raylet
def start(*args, **options):
    starts.append(1)
    if len(starts) == 1:
        raise RuntimeError("no raylet")
    return start_raylet(*args, **options)
services.start_raylet = start
with ray_cluster.started(ray, 1) as folder:
    assert ray.get(ray.remote(lambda: 6 * 7).remote()) == 42 and ray.cluster_resources()["CPU"] == 1
    names = [Path(f"/proc/{pid}/stat").read_text() for pid in ray_monitor.children()]
    print("apart" if os.getsid(0) not in map(os.getsid, ray_monitor.children()) else "a signal to us reaches Ray")
    print(len(starts), sum("(raylet) S" in name for name in names), sum("(gcs_server) S" in name for name in names))
print(folder.exists())
"""


@pytest.mark.slow
def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    env = {**os.environ, **own_code.environment()}
    command = [sys.executable, "-c", BROKEN]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, apart, counted, left = done.stdout.splitlines()
    assert told == "Ray did not start: no raylet: trying again"
    assert (apart, counted, left) == ("apart", "2 1 1", "False")


class FakeRay:
    """Starts after some failures; ``shutdown`` counts."""

    def __init__(self, failures: int) -> None:
        self.left, self.calls, self.shutdowns = failures, list[dict[str, Any]](), 0
        self.job_config = SimpleNamespace(JobConfig=lambda **given: None)
        self._private = SimpleNamespace(parameter=SimpleNamespace(), services=SimpleNamespace(), utils=None)

    def init(self, **given: Any) -> None:
        self.calls.append(given)
        self.left -= 1
        if self.left >= 0:
            raise RuntimeError("The current node timed\nout during startup.")

    def shutdown(self) -> None:
        self.shutdowns += 1


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_it_is_tried_three_times_each_in_a_folder_of_its_own(
    failures: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = FakeRay(failures)
    if failures < 3:
        ray_cluster._start(ray, tmp_path, 2)
    else:
        with pytest.raises(ray_monitor.RayStartError, match=r"^The current node timed out during startup\.$"):
            ray_cluster._start(ray, tmp_path, 2)
    told = "Ray did not start: The current node timed out during startup.: trying again\n"
    assert capsys.readouterr().out == told * min(failures, 2)
    assert len({call["_temp_dir"] for call in ray.calls}) == len(ray.calls) == min(failures + 1, 3)
    assert ray.shutdowns == failures and all(call["num_cpus"] == 2 for call in ray.calls)
