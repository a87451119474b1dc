"""Copies of shards on a node's own disk: made once, whatever happens meanwhile."""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.disks import fill, list_names
from support.trial_processes import ROOT, wait_for

from suite.config import InputError
from suite.data.imagenet import shards, staging
from suite.data.imagenet.shards import Index, Shard
from suite.stopping import Stopped

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SLOW = """
import sys, time
from suite import cli
from suite.data.imagenet import staging
staging._CHUNK = 1 << 12
class Slow:
    def __init__(self, digest): self.digest = digest
    def update(self, data):
        time.sleep(float(sys.argv[3]))
        self.digest.update(data)
    def hexdigest(self): return self.digest.hexdigest()
class Hashlib:
    @staticmethod
    def sha256(*data):
        import hashlib
        return hashlib.sha256(*data) if data else Slow(hashlib.sha256())
staging.hashlib = Hashlib
import logging
logging.basicConfig(format="%(message)s", level=logging.INFO)
from pathlib import Path
print(staging.stage(Path(sys.argv[1]), staging.expanded(sys.argv[2])))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of shards, as `suite.data.imagenet.pack` leaves it: for a copy their bytes mean nothing."""
    folder = tmp_path / "root"
    folder.mkdir()
    rng, found = np.random.default_rng(0), []
    for i in range(5):
        content = rng.bytes(20_000 + i)
        (folder / f"train-{i:05d}.tar").write_bytes(content)
        (folder / f"train-{i:05d}.idx").write_text(text := f"v1.2 0\n{i}\n")
        sha = staging.hashlib.sha256(content).hexdigest()
        sizes = {"size": len(content), "index_size": len(text)}
        found.append(Shard(file=f"train-{i:05d}.tar", num_images=7, sha256=sha, **sizes))
    splits: dict[shards.SplitName, list[Shard]] = {"train": found[:3], "val": found[3:4], "test": found[4:]}
    index = Index(data_id="d", num_classes=3, val_share=0.1, seed=0, shard_mb=1, splits=splits)
    (folder / "index.json").write_text(index.model_dump_json())
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir() if path.suffix}


def start(root: Path, scratch: Path, delay: float) -> subprocess.Popen[str]:
    """A process that copies slowly."""
    command = [sys.executable, "-c", SLOW, str(root), str(scratch), str(delay)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def copying(scratch: Path) -> bool:
    return any(scratch.glob("suite-shards-*/.copying.*"))


def test_a_copy_is_equal(root: Path, tmp_path: Path) -> None:
    copy = staging.stage(root, tmp_path / "deep" / "scratch")
    assert copy.parent == tmp_path / "deep" / "scratch"
    assert contents(copy) == contents(root) and shards.read(copy) == shards.read(root)
    assert copy.stat().st_mode & 0o777 == 0o700


def test_other_shards_get_another_folder(root: Path, tmp_path: Path) -> None:
    one = staging.stage(root, tmp_path / "scratch")
    index = json.loads((root / "index.json").read_text())
    (root / "index.json").write_text(json.dumps({**index, "data_id": "e"}))
    two = staging.stage(root, tmp_path / "scratch")
    assert one != two and contents(two) == contents(root)


def test_a_second_call_reads_no_tar(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = staging.stage(root, tmp_path / "scratch")
    before = stamps(copy)
    for path in root.glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))  # as large, but not what it was
    with monkeypatch.context() as patched:
        patched.setattr(staging, "_copy", lambda *arguments: pytest.fail("copied again"))
        assert staging.stage(root, tmp_path / "scratch") == copy and stamps(copy) == before


@pytest.mark.parametrize("lost", ["train-00001.tar", "train-00001.idx"])
def test_what_a_copy_has_lost_is_copied_again(root: Path, tmp_path: Path, lost: str) -> None:
    copy = staging.stage(root, tmp_path / "scratch")
    before = contents(copy)
    (copy / lost).unlink()
    assert staging.stage(root, tmp_path / "scratch") == copy
    assert contents(copy) == before


def test_of_several_processes_one_copies(root: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    processes = [start(root, scratch, 0.01) for _ in range(4)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, answers
    assert len({out for out, _ in answers}) == 1
    assert sorted("copying 5 shards" in said for _, said in answers) == [False] * 3 + [True]
    assert contents(Path(answers[0][0].strip())) == contents(root)


def test_where_the_copier_is_killed_another_goes_on(root: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    first = start(root, scratch, 0.1)
    wait_for(lambda: list(scratch.glob("*/train-00000.tar")) and copying(scratch))
    second = start(root, scratch, 0)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    (copy,) = scratch.iterdir()
    before = stamps(copy)
    out, said = second.communicate(timeout=60)
    assert second.returncode == 0 and Path(out.strip()) == copy
    whole = {name: stamp for name, stamp in before.items() if name in contents(root) and name.endswith(".tar")}
    assert 1 <= len(whole) < 5 and f"copying {5 - len(whole)} shards" in said
    assert contents(copy) == contents(root) and not copying(scratch)
    assert {name: stamps(copy)[name] for name in whole} == whole


def test_a_shard_that_is_not_what_was_packed(root: Path, tmp_path: Path) -> None:
    path = root / "train-00002.tar"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 128]) + content[1:])
    with pytest.raises(InputError, match=rf"{path}: is not what was packed \(its SHA-256 differs\)"):
        staging.stage(root, tmp_path / "scratch")
    (copy,) = (tmp_path / "scratch").iterdir()
    assert not (copy / "index.json").exists() and not (copy / path.name).exists()
    path.write_bytes(content)
    before = stamps(copy)["train-00001.tar"]
    assert contents(staging.stage(root, tmp_path / "scratch")) == contents(root)
    assert stamps(copy)["train-00001.tar"] == before


def test_a_short_shard_of_a_copy_is_copied_again(root: Path, tmp_path: Path) -> None:
    copy = staging.stage(root, tmp_path / "scratch")
    (copy / "index.json").unlink()
    os.truncate(copy / "train-00003.tar", 100)
    (copy / ".copying.train-00004.tar").write_bytes(b"stale")
    assert contents(staging.stage(root, tmp_path / "scratch")) == contents(root)
    assert not copying(tmp_path / "scratch")


def test_too_little_room(root: Path, disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = disk(300)
    filler = fill(scratch, leave=60)
    with pytest.raises(InputError, match=r"suite-shards-.*: \d+ MB are to be copied, \d+ MB are free"):
        staging.stage(root, scratch)
    with monkeypatch.context() as patch:  # somebody else fills it meanwhile
        patch.setattr(staging.shutil, "disk_usage", lambda path: _Free())
        with pytest.raises(OSError, match="No space left on device") as caught:
            staging.stage(root, scratch)
    assert "suite-shards-" in str(caught.value.filename) and not copying(scratch)
    filler.unlink()
    assert contents(staging.stage(root, scratch)) == contents(root)


class _Free:
    free = 10**9


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else(root: Path, tmp_path: Path) -> None:
    copy = staging.stage(root, tmp_path / "scratch")
    os.chown(copy, 12345, -1)
    with pytest.raises(InputError, match=f"{copy}: belongs to somebody else"):
        staging.stage(root, tmp_path / "scratch")
    copy.rename(tmp_path / "moved")
    os.chown(tmp_path / "moved", 0, -1)
    copy.symlink_to(tmp_path / "moved")
    with pytest.raises(InputError, match="belongs to somebody else"):
        staging.stage(root, tmp_path / "scratch")


def test_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_DISK", "/scratch/job 7")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("NO_DISK", raising=False)
    assert staging.expanded("$SOME_DISK/x") == staging.expanded("${SOME_DISK}/x") == Path("/scratch/job 7/x")
    with pytest.raises(InputError, match="stage: x/y: must be an absolute path"):
        staging.expanded("x/y")
    assert staging.expanded("~/x") == Path("/home/me/x") and staging.expanded("/plain") == Path("/plain")
    for scratch in ("$NO_DISK", "/a/${NO_DISK}/b", "$SOME_DISK/$NO_DISK"):
        with pytest.raises(InputError, match="the environment variable NO_DISK is not set on this node"):
            staging.expanded(scratch)


def test_asked_to_stop_while_waiting(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_POLL_SECONDS", 0.001)
    copy = staging.stage(root, tmp_path / "scratch")
    asked: list[int] = []
    with (copy / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Stopped, match="the same command goes on"):
            staging.stage(root, tmp_path / "scratch", should_stop=lambda: asked.append(1) or len(asked) == 5)
    assert len(asked) == 5
    assert staging.stage(root, tmp_path / "scratch", should_stop=lambda: True) == copy  # nothing takes long here


def test_asked_to_stop_between_shards(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asked: list[int] = []
    with pytest.raises(Stopped):
        staging.stage(root, tmp_path / "scratch", should_stop=lambda: asked.append(1) or len(asked) == 3)
    (copy,) = (tmp_path / "scratch").iterdir()
    assert [name for name in list_names(copy) if name.endswith("tar")] == ["train-00000.tar", "train-00001.tar"]
    assert contents(staging.stage(root, tmp_path / "scratch")) == contents(root)
    said = [record.getMessage().split(" shards")[0] for record in caplog.records]
    assert said == ["copying 5", "copying 3"]


def test_the_command(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "suite.data.imagenet.stage", str(root), "$HERE/scratch"]
    env = {**ENVIRONMENT, "HERE": str(tmp_path)}
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0 and contents(Path(done.stdout.strip())) == contents(root)
    env.pop("HERE")
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and "HERE is not set" in done.stderr
