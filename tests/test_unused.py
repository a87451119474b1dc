"""``suite.status --unused``: which records no kept sweep asks for, and what ``--delete`` leaves alone."""

from pathlib import Path

import pytest
from support.fake_results import create_trial_folder, write_result
from support.sweep_files import AXES

from suite import cli, status, unused
from suite.config import Trial
from suite.config.sweep_file import load_sweep
from suite.launch.attempts import OWNER
from suite.launch.lease import Lease
from suite.records import kept_plans, write_failure
from suite.records.ledger import Ledger
from suite.slurm.record import JobRecord, write_job

Said = pytest.CaptureFixture[str]
RESULTS = Ledger(Path("results"))
BOTH = AXES.replace("seed: [1, 2]", "seed: [1, 2, 3]")


def keep(name: str, text: str) -> list[Trial]:
    """Keep the plan of a sweep; its trials."""
    file = Path(f"{name}.yaml")
    file.write_text(text.replace("name: t", f"name: {name}"))
    sweep = load_sweep(file)
    kept_plans.keep(sweep, RESULTS.root)
    return list(sweep.trials.values())


@pytest.fixture(autouse=True)
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """The three trials of seed 3, which the sweep no longer asks for; another sweep shares a trial with it."""
    monkeypatch.chdir(tmp_path)
    trials = keep("mine", BOTH)
    for trial in trials:
        write_result(RESULTS, trial)
    keep("mine", AXES)
    keep("other", AXES.replace("seed: [1, 2]", "seed: 2"))
    return [trial for trial in trials if trial.seed == 3]


def call(*flags: str) -> int:
    return cli.run(lambda: status.main([*flags]))


def there() -> set[str]:
    return {path.name for path in Path("results/trials").iterdir()}


def test_they_are_listed_with_their_bytes_and_stay(left: list[Trial], capsys: Said) -> None:
    (RESULTS.folder(left[0].trial_id) / "network.ticket").write_bytes(bytes(2_500_000))
    before = there()
    assert call("--unused") == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if "final" in line and left[0].trial_id in line and " 2.5 " in line]
    assert all(trial.trial_id in out for trial in left) and len(before) == 9
    assert out.splitlines()[-1] == "3 unused records in results, 2.5 MB"
    assert there() == before


def test_delete_removes_them_and_no_other(left: list[Trial], capsys: Said) -> None:
    before = there()
    assert call("--unused", "--delete") == 0
    assert before - there() == {trial.trial_id for trial in left} and len(there()) == 6
    assert "deleted: 3 records" in capsys.readouterr().out
    assert call("--unused", "--delete") == 0
    assert capsys.readouterr().out == "results: the kept sweeps ask for every record\ndeleted: 0 records, 0.0 MB\n"


def test_what_runs_or_may_run_stays(left: list[Trial], capsys: Said) -> None:
    """A process of this machine, one of another, an attempt without a name, a job in the queue."""
    trial = left[0]
    ids = [trial.model_copy(update={"seed": seed}).trial_id for seed in range(10, 14)]
    with Lease.acquire(RESULTS.folder(ids[0])) as mine, Lease.acquire(RESULTS.folder(ids[1])) as theirs:
        for held, change in ((mine, ""), (theirs, "elsewhere")):
            text = (held.folder / OWNER).read_text()
            (held.folder / OWNER).write_text(text.replace('"host":"', f'"host":"{change}'))
        (RESULTS.folder(ids[2]) / "attempt-1").mkdir(parents=True)
        folder = create_trial_folder(RESULTS, ids[3])
        write_job(folder, JobRecord.new("name", "about", folder).model_copy(update={"id": "7"}))
        assert call("--unused", "--delete") == 0
        assert set(ids) <= there()
    out = capsys.readouterr().out
    assert out.count("it is not deleted") == 4 and "job 7 runs it, or may" in out and "on elsewhere" in out
    assert "3 unused records" in out and "deleted: 3 records" in out


def test_what_was_left_is_deleted(left: list[Trial], capsys: Said) -> None:
    """A failed trial, one whose process has ended, and one whose job was cancelled."""
    trial = left[0]
    failed, ended, cancelled = (trial.model_copy(update={"seed": seed}).trial_id for seed in (10, 11, 12))
    write_failure(create_trial_folder(RESULTS, failed), failed, ValueError("x"))
    with Lease.acquire(RESULTS.folder(ended)):
        pass
    folder = create_trial_folder(RESULTS, cancelled)
    write_job(folder, JobRecord.new("name", "about", folder).model_copy(update={"id": "7", "cancelled": True}))
    assert call("--unused", "--delete") == 0
    assert not {failed, ended, cancelled} & there()
    assert "failed" in capsys.readouterr().out


def test_a_trial_that_begins_after_the_look_stays(left: list[Trial]) -> None:
    found = unused.find(RESULTS)
    (RESULTS.folder(left[0].trial_id) / "result.json").unlink()
    with Lease.acquire(RESULTS.folder(left[0].trial_id)) as lease:
        assert [each.trial_id for each in unused.remove(found, RESULTS)] == sorted(i.trial_id for i in left[1:])
        assert lease.folder.exists()


def test_a_sweep_that_runs_keeps_delete_away(capsys: Said) -> None:
    before = there()
    with RESULTS.locked():
        assert call("--unused") == 0
        assert call("--unused", "--delete") == 2
    assert "results: in use by a sweep on " in capsys.readouterr().err and there() == before


def test_a_plan_that_cannot_be_read_keeps_all(capsys: Said) -> None:
    before = there()
    Path("results/sweeps/other.yaml").write_text("name: [")
    assert call("--unused", "--delete") == 2
    said = capsys.readouterr().err
    assert said.startswith("results/sweeps/other.yaml:") and said.endswith("asks for: move this plan away\n")
    assert there() == before


def test_what_a_killed_call_left_is_removed_and_other_folders_are_not(left: list[Trial]) -> None:
    for name in (".deleted-0123456789ab", "my-notes"):
        (RESULTS.root / "trials" / name).mkdir()
    assert call("--unused", "--delete") == 0
    assert "my-notes" in there() and len(there()) == 7


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "the following arguments are required: FILE.yaml, or --unused"),
        (["mine.yaml", "--delete"], "--delete: belongs to --unused"),
        (["mine.yaml", "--unused"], "--unused: looks at the records of all sweeps: leave out FILE.yaml"),
        (["--unused", "--json", "--failed"], "records of all sweeps: leave out --failed, --json"),
    ],
)
def test_flags_that_do_not_belong_together(flags: list[str], said: str, capsys: Said) -> None:
    with pytest.raises(SystemExit, match="2"):
        status.main(flags)
    assert said in capsys.readouterr().err


def test_a_folder_that_is_none(capsys: Said) -> None:
    assert call("--unused", "--results", "nowhere") == 2
    assert capsys.readouterr().err == "nowhere: no such folder: name one with the results of sweeps\n"
