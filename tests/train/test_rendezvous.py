"""The ranks of a trial: how each learns which it is, and how they meet."""

import ipaddress
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.ranks import CPU, LOOPBACK, environment, run_together, settings_of, trial_of, without_times

from suite.config import InputError
from suite.launch import local
from suite.records import Result, read_metrics, read_result
from suite.records.ledger import Ledger
from suite.stopping import Stopped
from suite.train import __main__ as command
from suite.train import distributed
from suite.train.distributed import PeerLost, RankInfo, first_host, rank_info, rank_info_from_env

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
STEP = {"SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "3"}

HAS_PROC = Path("/proc/net/tcp6").exists()
NEEDS_PROC = pytest.mark.skipif(not HAS_PROC, reason="no /proc/net/tcp6 (Linux with IPv6)")

# Places -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, RankInfo(0, 0, 1)),
        (TORCHRUN, RankInfo(3, 1, 4)),
        (STEP, RankInfo(2, 0, 3)),
        ({**STEP, **TORCHRUN}, RankInfo(3, 1, 4)),  # torchrun, or the local launcher, in a SLURM step
        (
            {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "3", "SLURM_PROCID": "0"},
            RankInfo(0, 0, 1),
        ),  # a batch script is no step
    ],
)
def test_the_environment_says_which_process_this_is(environ: dict[str, str], expected: RankInfo) -> None:
    assert rank_info_from_env(environ) == expected
    assert rank_info(expected.world_size, environ) == expected


@pytest.mark.parametrize(
    ("processes", "environ", "found"), [(2, {}, 1), (2, TORCHRUN, 4), (1, TORCHRUN, 4), (2, STEP, 3), (4, STEP, 3)]
)
def test_the_wrong_number_of_processes_is_an_input_error(processes: int, environ: dict[str, str], found: int) -> None:
    message = (
        rf"^processes: {processes}: this is one of {found}: start as many with --launcher local, torchrun or srun$"
    )
    with pytest.raises(InputError, match=message):
        rank_info(processes, environ)


def test_a_single_process_among_the_tasks_of_a_slurm_step_is_alone() -> None:
    assert rank_info(1, STEP) == RankInfo(0, 0, 1)


def test_a_single_process_among_the_tasks_of_a_slurm_step_prints_its_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    trial = trial_of("weights", epochs=1)
    (tmp_path / "trial.json").write_text(trial.model_dump_json())
    assert command.main([str(tmp_path / "trial.json"), "--results", str(tmp_path)]) == 0
    *lines, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["epoch"] for line in lines] == [0]
    assert result["trial_id"] == trial.trial_id


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("localhost", "localhost"),
        ("gpu-7.cluster.example.org", "gpu-7.cluster.example.org"),
        ("node07", "node07"),
        ("node3,node5", "node3"),
        ("x1,node[03-05,9]", "x1"),
        ("node[03-05]", "node03"),
        ("node[03-05,9],x1", "node03"),
        ("node[9,03-05]", "node9"),
        ("node[007]", "node007"),
        ("node[1-2]-ib", "node1-ib"),
        ("node[1-2]-ib.example.org,x1", "node1-ib.example.org"),
        ("rack[1-2]node[05,7]", "rack1node05"),
        ("rack[1-2,4]node[5-7]-ib,rack3node1", "rack1node5-ib"),
    ],
)
def test_the_first_host_of_a_slurm_node_list(nodes: str, expected: str) -> None:
    assert first_host(nodes) == expected


# Real trials of two processes ---------------------------------------------------------------------------------------


def listening() -> dict[int, set[str]]:
    """The addresses on which each process of a trial that this one started listens, as far as they run now."""
    found: dict[int, set[str]] = {}
    for pid in (int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()):
        try:
            if b"suite.train" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue
            links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
            tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        except OSError:  # it, or one of its files, is gone
            continue
        inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
        rows = [row.split() for table in tables for row in table]
        found[pid] = {address_of(row[1]) for row in rows if row[3] == "0A" and row[9] in inodes}
    return found


def address_of(column: str) -> str:
    """``0100007F:1F90`` of /proc/net/tcp -> 127.0.0.1: words of 32 bits in the machine's order."""
    words = bytes.fromhex(column.partition(":")[0])
    ordered = [int.from_bytes(words[i : i + 4], "big").to_bytes(4, sys.byteorder) for i in range(0, len(words), 4)]
    return str(ipaddress.ip_address(b"".join(ordered)))


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path, dict[int, set[str]]]:
    """A trial by the local launcher: its result, its folder, and where its processes ever listened."""
    folder = tmp_path_factory.mktemp("launched")
    seen: dict[int, set[str]] = {}

    def look() -> bool:
        for pid, addresses in listening().items() if HAS_PROC else ():
            seen.setdefault(pid, set()).update(addresses)
        return False

    result = local.run(trial_of("iterand", processes=2), folder, data_dir=None, should_stop=look)
    return result, folder, seen


def assert_equal_bits(found: Path, launched: tuple[Result, Path, Any]) -> None:
    expected, folder, _ = launched
    result = read_result(found)
    assert result is not None
    assert without_times(result.model_dump()) == without_times(expected.model_dump())
    lines, expected_lines = ([without_times(line) for line in read_metrics(each)] for each in (found, folder))
    assert lines == expected_lines
    assert len(lines) == 2


@NEEDS_PROC
def test_the_addresses_that_listen_are_found() -> None:
    """The reader of /proc against sockets whose addresses are known: it must not be blind."""
    code = "import socket; s = [socket.create_server((host, 0)) for host in ('127.0.0.1', '0.0.0.0')]"
    code += "; print(flush=True); input()  # suite.train"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        (addresses,) = listening().values()
        process.communicate(b"\n")
    assert {address: is_loopback(address) for address in addresses} == {"127.0.0.1": True, "0.0.0.0": False}
    v6 = [address_of(f"{words}:1F90") for words in (24 * "0" + "01000000", 16 * "0" + "FFFF00000100007F", 32 * "0")]
    assert [is_loopback(address) for address in v6] == [True, True, False]


@NEEDS_PROC
def test_a_trial_on_one_machine_listens_on_the_loopback_interface_only(launched: tuple[Any, ...]) -> None:
    *_, seen = launched
    assert len(seen) == 2
    assert all(seen.values())  # each rank did listen
    assert [address for addresses in seen.values() for address in addresses if not is_loopback(address)] == []


@pytest.mark.slow
def test_torchrun_gives_the_bits_of_the_local_launcher(launched: tuple[Any, ...], tmp_path: Path) -> None:
    trial = trial_of("iterand", processes=2)
    (tmp_path / "trial.json").write_text(json.dumps(settings_of("iterand", processes=2)))
    arguments = ["-m", "suite.train", str(tmp_path / "trial.json"), "--results", str(tmp_path)]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *arguments]
    run_together([torchrun], [environment(OMP_NUM_THREADS=1)], tmp_path)
    assert_equal_bits(Ledger(tmp_path).folder(trial.trial_id), launched)


def free_number() -> int:
    """Where in the range of ports that SLURM steps meet at one is free."""
    for number in range(os.getpid() % 10000, 20000):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", 20000 + number)):
                return number
    raise AssertionError("no port is free")


@pytest.mark.slow
def test_tasks_of_a_slurm_step_give_the_bits_of_the_local_launcher(launched: tuple[Any, ...], tmp_path: Path) -> None:
    trial = trial_of("iterand", processes=2)
    (tmp_path / "trial.json").write_text(json.dumps(settings_of("iterand", processes=2)))
    arguments = ["-m", "suite.train", str(tmp_path / "trial.json"), "--results", str(tmp_path)]
    job, step = divmod(free_number(), 31)
    known = {"SLURM_JOB_ID": job, "SLURM_STEP_ID": step, "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_TASKS": 2}
    environments = [
        environment(**known, SLURM_PROCID=rank, SLURM_LOCALID=rank, GLOO_SOCKET_IFNAME=LOOPBACK) for rank in range(2)
    ]
    run_together([arguments] * 2, environments, tmp_path)
    assert_equal_bits(Ledger(tmp_path).folder(trial.trial_id), launched)


def test_a_rank_that_waits_for_the_others_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(distributed.RENDEZVOUS, str(tmp_path / "meeting"))
    answers = iter([False, False, True])
    with pytest.raises(Stopped), distributed.process_group(RankInfo(1, 1, 2), CPU, lambda: next(answers)):
        pytest.fail("it is alone")


def test_a_rank_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(distributed.RENDEZVOUS, str(tmp_path / "meeting"))
    monkeypatch.setattr(distributed, "_MEETING_SECONDS", 0.1)
    with (
        pytest.raises(PeerLost, match=r"^rank 1: 1 of 2 ranks came"),
        distributed.process_group(RankInfo(1, 1, 2), CPU),
    ):
        pytest.fail("it is alone")
