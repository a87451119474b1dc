"""Variables of the caller's shell: none changes what the suite promises."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import pytest
from support.other_users import as_user, can_be
from support.sweep_processes import ROOT, write_sweep
from support.trial_processes import trial_of

from suite import environment, own_code
from suite.config import InputError
from suite.config.sweep_file import load_sweep
from suite.launch import inline, local
from suite.records import read_result
from suite.slurm.site import exportable_variables
from suite.tracking.store import URI_VARIABLE, how_to_open, store_uri, uri_of

NOTEBOOK = "module://matplotlib_inline.backend_inline"
STRANGE = {  # that a sweep must not notice; each broke it, or could
    "MPLBACKEND": NOTEBOOK,
    "MATPLOTLIBRC": "/nowhere",
    "TUNE_RESULT_DIR": "/x",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "TUNE_MAX_LEN_IDENTIFIER": "x",
    "RAY_AIR_LOCAL_CACHE_DIR": "/x",
    "RAY_ADDRESS": "ray://192.0.2.1:1",
    "RAY_RUNTIME_ENV_HOOK": "no.such",
    "RAY_OVERRIDE_RESOURCES": '{"CPU": 1000}',
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "abc",
    "RAY_USE_TLS": "1",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": "x",
    "RAY_gcs_server_request_timeout_seconds": "",
    "RAY_memory_usage_threshold": "",
    "MLFLOW_TRACKING_URI": "",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_RUN_ID": "x",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "192.0.2.1",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "1",
    "PYTHONHASHSEED": "7",
    "OMP_DYNAMIC": "true",
    "OMP_THREAD_LIMIT": "1",
    "OMP_NUM_THREADS": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "GIT_DIR": "/nowhere/.git",
    "GIT_WORK_TREE": "/nowhere",
    "GIT_INDEX_FILE": "/nowhere/index",
}


def test_the_documentation_shows_the_table() -> None:
    text = (ROOT / "docs/reference/environment.md").read_text(encoding="utf-8")
    shown = text.partition("## The table\n\n")[2].partition("\n## ")[0]
    assert shown.strip() == environment.table().strip()


def test_the_documentation_names_each_variable_of_the_suite() -> None:
    text = (ROOT / "docs/reference/environment.md").read_text(encoding="utf-8")
    rows = text.partition("## Read by the suite itself")[2].partition("\n## ")[0]
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "suite").rglob("*.py"))
    assert set(re.findall(r"\bSUITE_[A-Z_]+\b", code)) == set(re.findall(r"`(SUITE_[A-Z_]+)`", rows))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
def test_a_sweep_in_a_strange_shell_is_like_any_other(tmp_path: Path) -> None:
    """It has the bits and the commit that its trials have in a quiet one, a report, and MLflow runs."""
    sweep = load_sweep(write_sweep(tmp_path / "s.yaml", seeds=(1,), epochs=1))
    done = subprocess.run(
        [sys.executable, "-m", "suite.sweep", "s.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **STRANGE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert f"MLflow: {sys.executable} -m suite.ui --results results, then" in done.stdout
    assert (tmp_path / "results/reports/tiny/figure.png").exists()
    for trial_id, trial in sweep.trials.items():
        quiet = inline.run(trial, tmp_path / "quiet" / trial_id, data_dir=None)
        found = read_result(tmp_path / "results/trials" / trial_id)
        assert found is not None and found.metrics == quiet.metrics
        assert str(found.git_commit).removesuffix("-dirty") == str(quiet.git_commit).removesuffix("-dirty")
    client = mlflow.MlflowClient(store_uri(tmp_path / "results"))
    assert {run.info.status for run in client.search_runs(["1"])} == {"FINISHED"}


# git ---------------------------------------------------------------------------------------------------------------


def commit_in(root: Path, **given: str) -> str:
    """The commit that a copy of the suite in a repository of its own says."""
    command = [sys.executable, "-c", "from suite.records import source_code; print(source_code.git_commit())"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env = {**kept, "PYTHONPATH": str(root), **given}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repositories(tmp_path: Path) -> tuple[Path, Path]:
    """One with a copy of the suite, and another one."""
    own, other = tmp_path / "own", tmp_path / "other"
    subprocess.run(["cp", "-r", ROOT / "suite", tmp_path], check=True)
    for root in (own, other):
        root.mkdir()
        if root == own:
            (tmp_path / "suite").rename(own / "suite")
            (own / ".gitignore").write_text("__pycache__\n")
        (root / "file").write_text(root.name)
        for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "x"]):
            subprocess.run(["git", "-C", root, *words], check=True)
    return own, other


@pytest.mark.parametrize(
    "given",
    [
        {"GIT_DIR": "{other}/.git"},
        {"GIT_DIR": "{other}/.git", "GIT_WORK_TREE": "{other}", "GIT_PREFIX": "x/", "GIT_INDEX_FILE": "{other}/x"},
        {"GIT_CONFIG_PARAMETERS": "'core.worktree'='{other}'"},
        {"GIT_OBJECT_DIRECTORY": "{other}/.git/objects", "GIT_NAMESPACE": "x"},
        {"GIT_COMMON_DIR": "{other}/.git", "GIT_CEILING_DIRECTORIES": "{own}"},
        {"GIT_TRACE": "1", "GIT_TRACE_SETUP": "1"},
    ],
    ids=lambda given: "+".join(given),
)
def test_the_commit_is_that_of_the_suite(repositories: tuple[Path, Path], given: dict[str, str]) -> None:
    own, other = repositories
    head = subprocess.run(["git", "-C", own, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    filled = {name: value.format(own=own, other=other) for name, value in given.items()}
    assert commit_in(own, **filled) == head.strip()


def test_folders_that_git_trusts_by_the_environment_stay_trusted() -> None:
    given = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    assert environment.cleaned({**given, "GIT_DIR": "x"}, "git") == given


# Ranks, jobs and Python ---------------------------------------------------------------------------------------------


def test_ranks_of_a_trial_have_nothing_of_the_callers_job(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MASTER_ADDR": "h", "TORCHELASTIC_RESTART_COUNT": "3", "PYTHONINSPECT": "1", "GROUP_RANK": "1"}
    for name, value in {**given, "RANK": "5", "OMP_DYNAMIC": "true"}.items():
        monkeypatch.setenv(name, value)
    found = local._environment(0, 2, Path("/meeting"))
    assert not found.keys() & {*given, "OMP_DYNAMIC"}
    assert (found["RANK"], found["WORLD_SIZE"], found["PYTHONSAFEPATH"]) == ("0", "2", "1")


def test_jobs_have_nothing_of_the_callers_job_and_know_their_cluster() -> None:
    gone = ["SBATCH_EXPORT", "SLURM_EXPORT_ENV", "SRUN_CPUS_PER_TASK", "SLURM_HINT", "PMIX_RANK", "RANK", "WORLD_SIZE"]
    gone += ["MASTER_PORT", "SUITE_RENDEZVOUS", "PYTHONINSPECT", "SUBMITIT_EXECUTOR", "NVIDIA_TF32_OVERRIDE"]
    kept = ["SLURM_CONF", "SLURM_JWT", "PATH", "NCCL_DEBUG", "GLOO_SOCKET_IFNAME", "CUDA_VISIBLE_DEVICES", "HOME"]
    assert exportable_variables([*gone, *kept]) == kept


@pytest.mark.parametrize("given", [{"OMP_DYNAMIC": "true"}, {"OMP_THREAD_LIMIT": "1"}], ids=str)
def test_a_trial_that_would_have_fewer_threads_is_refused(tmp_path: Path, given: dict[str, str]) -> None:
    file = tmp_path / "trial.json"
    file.write_text(trial_of("weights", epochs=1).model_dump_json())
    command = [sys.executable, "-m", "suite.train", str(file)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **given}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    [name] = given
    assert done.returncode == 2 and done.stderr.startswith(f"environment: {name}={given[name]}: must not be set: ")
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "results").exists()


def test_python_that_leaves_out_docstrings_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-OO", "-m", "suite.status", "x.yaml"]
    env = {**os.environ, **own_code.environment()}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and "PYTHONOPTIMIZE=2" in done.stderr


# Figures and MLflow -------------------------------------------------------------------------------------------------


DRAW = """
from analysis.parts import style
with style.panels(1, "title") as (figure, axes):
    axes[0].plot([1, 2])
    figure.savefig("figure.svg", metadata={"Date": None})
import os; print(os.environ.get("MPLBACKEND"))
"""


@pytest.mark.slow
def test_figures_are_the_same_with_any_backend_and_matplotlibrc(tmp_path: Path) -> None:
    drawn = []
    for name, given in (("quiet", {}), ("strange", {"MPLBACKEND": NOTEBOOK})):
        folder = tmp_path / name
        folder.mkdir()
        if given:
            (folder / "matplotlibrc").write_text(
                "text.usetex: True\nfont.size: 40\nlines.linewidth: 9\naxes.grid: True\n"
            )
        env = {**os.environ, **own_code.environment(), **given}
        command = [sys.executable, "-c", DRAW]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"{given.get('MPLBACKEND')}\n"), done.stderr  # as it was
        drawn.append((folder / "figure.svg").read_bytes())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_address_of_a_store_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: str) -> None:
    monkeypatch.setenv(URI_VARIABLE, empty)
    assert uri_of(None) is None and uri_of("") is None and uri_of("sqlite:///x") == "sqlite:///x"
    assert "--store" not in how_to_open(tmp_path, uri_of(None), "1")


def test_what_is_refused_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "2")
    with pytest.raises(InputError, match=r"^environment: OMP_THREAD_LIMIT=2: must not be set: .*: unset it$"):
        environment.refuse("threads")


def test_the_server_of_the_page_serves_what_it_is_told_to() -> None:
    given = {
        "MLFLOW_SERVE_ARTIFACTS": "false",
        "MLFLOW_READ_REPLICA_BACKEND_STORE_URI": "sqlite:///x",
        "UVICORN_ROOT_PATH": "/x",
    }
    kept = {"MLFLOW_S3_ENDPOINT_URL": "http://s3", "AWS_PROFILE": "me"}
    found = environment.cleaned({**given, **kept}, "mlflow server")
    assert found == {
        **kept,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost:*,127.0.0.1:*,[[]::1]:*,suite.localhost:*",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "http://suite.localhost:*",
    }


# A user id without a name -------------------------------------------------------------------------------------------

UNKNOWN = 54321


@pytest.mark.slow
def test_a_user_whom_the_system_does_not_know_sees_results() -> None:
    """As in a container that runs under a number."""
    if not can_be(UNKNOWN):
        pytest.skip("not root, or another user cannot be shown this Python")
    names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    env = {name: value for name, value in os.environ.items() if name not in names}
    env |= {**own_code.environment(), "TMPDIR": "/tmp"}
    folder = Path(tempfile.mkdtemp(prefix="suite-unknown-", dir="/tmp"))
    try:
        trial = trial_of("weights", epochs=1).model_dump(mode="json")
        (folder / "s.yaml").write_text(json.dumps({"name": "s", "grid": trial}))
        for path in (folder, folder / "s.yaml"):
            os.chown(path, UNKNOWN, UNKNOWN)
        sweep = as_user(UNKNOWN, sys.executable, "-m", "suite.sweep", "s.yaml")
        done = subprocess.run(sweep, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        page = as_user(UNKNOWN, sys.executable, "-u", "-m", "suite.ui", "--port", str(port))
        server = subprocess.Popen(
            page, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert server.stdout is not None
        said = [server.stdout.readline() for _ in range(3)]
        server.terminate()
        assert server.wait(60) == 130
        rest = server.communicate()[0]
        assert said[1].startswith(f"ready: http://suite.localhost:{port}/#/experiments/1/"), "".join(said) + rest
        assert f"127.0.0.1:{port} USER@" in said[2]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
