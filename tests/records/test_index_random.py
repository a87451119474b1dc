"""Random histories of a results folder: after each step the index says what a look into every result says."""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_results import create_trial_folder, fake_result
from support.index_cases import reference_of, trial_of

from suite.config import InputError
from suite.records import Result, Writer, index, read_result
from suite.records.files import read_result_and_state
from suite.records.index import Index
from suite.records.ledger import Ledger

ROOT = Path(__file__).parents[2]
TRIALS = {trial.trial_id: trial for trial in map(trial_of, range(1, 7))}
TICK = 0.02  # seconds, longer than the clock of a file system that counts in ticks of the kernel
ACCURACIES = [round(0.1 + number / 1000, 3) for number in range(1, 1000, 7) if number % 10]  # equally long as text

LOOKING = """
import sys
from pathlib import Path
from suite.records import index
index.SETTLED_NS = int(sys.argv[1])
for line in sys.stdin:
    found = index.Index(Path(line.rstrip("\\n"))).everything()
    print(*sorted(f"{i}={summary.metrics['val/top1']}" for i, summary in found.items()), flush=True)
"""


class History:
    """Steps that may happen to a results folder, each by its name."""

    def __init__(self, folder: Path, seed: int, other: "subprocess.Popen[str]") -> None:
        self.home, self.chance, self.other = folder, random.Random(seed), other
        self.ledger, self.copies = Ledger(folder / "results"), 0
        (folder / "results/trials").mkdir(parents=True)
        (folder / "away").mkdir()
        self.kept_index: bytes | None = None

    def step(self) -> str:
        """Do something."""
        steps = [name for name in vars(History) if name.startswith("do_")]
        name = self.chance.choice([*steps, "do_finish", "do_finish", "do_wait", "do_wait"])
        trial_id = self.chance.choice(list(TRIALS))
        folder = self.ledger.folder(trial_id)
        getattr(self, name)(trial_id, folder, folder / "result.json")
        return f"{name} {trial_id}"

    def result(self, trial_id: str) -> Result:
        accuracy = self.chance.choice(ACCURACIES)
        return fake_result(TRIALS[trial_id], metrics={"val/top1": accuracy, "test/top1": accuracy})

    def do_wait(self, trial_id: str, folder: Path, path: Path) -> None:
        time.sleep(2 * TICK)

    def do_finish(self, trial_id: str, folder: Path, path: Path) -> None:
        Writer(create_trial_folder(self.ledger, trial_id)).finish(self.result(trial_id))

    def do_finish_in_an_attempt(self, trial_id: str, folder: Path, path: Path) -> None:
        attempt = create_trial_folder(self.ledger, trial_id) / "attempt-1"
        attempt.mkdir(exist_ok=True)
        Writer(attempt).finish(self.result(trial_id))
        (attempt / "result.json").replace(path)
        shutil.rmtree(attempt)

    def do_begin(self, trial_id: str, folder: Path, path: Path) -> None:
        (create_trial_folder(self.ledger, trial_id) / f"attempt-{self.chance.randrange(1, 9)}").mkdir(exist_ok=True)

    def do_make_anew(self, trial_id: str, folder: Path, path: Path) -> None:
        was_there = path.exists()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if was_there and self.chance.random() < 0.5:
            path.write_text(self.result(trial_id).model_dump_json())

    def do_remove(self, trial_id: str, folder: Path, path: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def do_move_the_result(self, trial_id: str, folder: Path, path: Path) -> None:
        away = self.home / "away" / f"{trial_id}.json"
        if away.exists():
            create_trial_folder(self.ledger, trial_id)
            away.rename(path)
        elif path.exists():
            path.rename(away)

    def do_move_the_folder(self, trial_id: str, folder: Path, path: Path) -> None:
        away = self.home / "away" / trial_id
        if away.exists() and folder.exists():
            folder.rename(self.home / "away/third")
            away.rename(folder)
            (self.home / "away/third").rename(away)
        elif away.exists():
            away.rename(folder)
        elif folder.exists():
            folder.rename(away)

    def do_write_in_place(self, trial_id: str, folder: Path, path: Path) -> None:
        """Of the same size where there is a result, and often with its old times."""
        if path.exists():
            times, keeps = path.stat(), self.chance.random() < 0.7
            with path.open("r+b") as file:
                file.write(self.result(trial_id).model_dump_json().encode())
                file.truncate()
            if keeps:
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def do_replace(self, trial_id: str, folder: Path, path: Path) -> None:
        if path.exists():
            times, part = path.stat(), path.with_name(".part")
            part.write_text(self.result(trial_id).model_dump_json())
            os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
            part.replace(path)

    def do_copy_from_another(self, trial_id: str, folder: Path, path: Path) -> None:
        other = self.ledger.folder(self.chance.choice(list(TRIALS))) / "result.json"
        if other.exists() and path.exists() and other != path:
            subprocess.run(["cp", "-p", str(other), str(path)], check=True)

    def do_garble(self, trial_id: str, folder: Path, path: Path) -> None:
        if path.exists():
            os.truncate(path, self.chance.randrange(path.stat().st_size + 1))

    def do_link(self, trial_id: str, folder: Path, path: Path) -> None:
        link = self.home / "away" / f"{trial_id}.link"
        link.unlink(missing_ok=True)
        if path.exists():
            os.link(path, link)

    def do_copy_all(self, trial_id: str, folder: Path, path: Path) -> None:
        """The copy is what is looked at from here on; sometimes it takes the place of the first one."""
        old, self.copies = self.ledger.root, self.copies + 1
        new = self.home / f"results{self.copies}"
        subprocess.run(["cp", self.chance.choice(["-a", "-r"]), str(old), str(new)], check=True)
        if self.chance.random() < 0.5:
            shutil.rmtree(old)
            new.rename(old)
        else:
            self.ledger = Ledger(new)

    def do_damage_the_index(self, trial_id: str, folder: Path, path: Path) -> None:
        file = self.ledger.root / "index.jsonl"
        size = file.stat().st_size if file.exists() else 0
        if size:
            os.truncate(file, size - self.chance.randrange(min(size, 2000)))  # a crash in the middle of an append

    def do_keep_or_restore_the_index(self, trial_id: str, folder: Path, path: Path) -> None:
        file = self.ledger.root / "index.jsonl"
        if self.kept_index is None:
            self.kept_index = file.read_bytes() if file.exists() else None
        else:
            file.write_bytes(self.kept_index)
            self.kept_index = None

    def do_look_from_another_process(self, trial_id: str, folder: Path, path: Path) -> None:
        assert self.other.stdin and self.other.stdout
        self.other.stdin.write(f"{self.ledger.root}\n")
        self.other.stdin.flush()
        found = dict(pair.split("=") for pair in self.other.stdout.readline().split())
        assert found == {i: str(result.metrics["val/top1"]) for i, result in fresh(self.ledger).items()}

    def do_append_late(self, trial_id: str, folder: Path, path: Path) -> None:
        """Another process has read a result before it changes, and adds it to the index after it did."""
        read = None
        if path.exists() and time.time() - path.stat().st_ctime > TICK:
            with contextlib.suppress(InputError):
                read = Index(self.ledger.root)._read(trial_id)
        self.step()
        late = Index(self.ledger.root)
        late._file.read()
        if read and late._file.prepare():
            late._file.append([index._line(trial_id, read[1], read[0])])


def fresh(ledger: Ledger) -> dict[str, Result]:
    """The slow model: every result, read now."""
    found = {}
    for trial_id in TRIALS:
        try:
            found[trial_id] = read_result(ledger.folder(trial_id))
        except InputError:
            continue
    return {trial_id: result for trial_id, result in found.items() if result is not None}


def check(ledger: Ledger, step: str) -> None:
    """Everything that can be asked of the index, against the model."""
    results = fresh(ledger)
    everything = Index(ledger.root).everything()
    looked = ledger.lookup(TRIALS)
    left_out = {"num_test_images", "record_bytes"}
    assert everything.keys() == results.keys(), step
    for trial_id, summary in everything.items():
        kept = summary.model_dump(exclude=left_out)
        assert kept == results[trial_id].model_dump(include=set(kept)), step
    states = {trial_id: each.state for trial_id, each in looked.items()}
    assert states == {i: reference_of(ledger.folder(i), trial) for i, trial in TRIALS.items()}, step


@pytest.fixture(scope="module")
def other() -> Iterator["subprocess.Popen[str]"]:
    """Another process, which looks at a folder when it reads its name."""
    command = [sys.executable, "-c", LOOKING, str(int(TICK * 1e9))]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate("", timeout=60)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_a_random_history(
    tmp_path: Path, seed: int, other: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def counted(folder: Path) -> tuple[Result, os.stat_result] | None:
        opened.append(folder)
        return read_result_and_state(folder)

    monkeypatch.setattr(index, "SETTLED_NS", int(TICK * 1e9))
    monkeypatch.setattr(index, "read_result_and_state", counted)
    history, final = History(tmp_path, seed, other), 0
    for _ in range(150):
        step = history.step()
        check(history.ledger, step)
        final += 2 * len(fresh(history.ledger))
    assert len(opened) > 50 and final - len(opened) > 30  # the index was used, and was not: else nothing is shown
