"""What listens while a sweep runs, found in /proc, and what each port says to a caller that has not the token.

Calls are HTTP/2 frames made here: Ray's own client would add a token, and comes with no gRPC for Python.
"""

import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.listening import Port, family, listening, unix_sockets
from support.stores import write_empty_store
from support.sweep_processes import start_sweep, write_sweep
from support.trial_processes import wait_for

from suite.tracking.store import DATABASE

METHODS = (  # one of each of Ray's services; all of them take an empty message
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.ActorInfoGcsService/GetAllActorInfo",
    "/ray.rpc.autoscaler.AutoscalerStateService/GetClusterStatus",
    "/ray.rpc.syncer.RaySyncer/StartSync",
    "/ray.rpc.NodeManagerService/GetSystemConfig",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/PushTask",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/GetTraceback",
)
OK, UNIMPLEMENTED, UNAUTHENTICATED = "0", "12", "16"  # of gRPC


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + content


def literal(name: str, value: str) -> bytes:
    """A header in HPACK, neither indexed nor compressed."""
    encoded = b"\0"
    for text in (name.encode(), value.encode()):
        length = bytes([len(text)]) if len(text) < 127 else bytes([127, len(text) - 127])
        encoded += length + text
    return encoded


def call(port: Port, method: str, token: str | None) -> str:
    """The gRPC status that a call with an empty message gets, or what is answered instead."""
    headers = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "x", "te": "trailers"}
    headers |= {"content-type": "application/grpc", "node_id": "0" * 56}  # without it StartSync ends the server
    headers |= {"authorization": f"Bearer {token}"} if token else {}
    asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    asked += frame(1, 4, 1, b"".join(literal(*header) for header in headers.items())) + frame(0, 1, 1, bytes(5))
    answer = exchange(port, asked, rb"grpc-status(..)")
    if found := re.search(rb"grpc-status(.)", answer, re.S):
        return answer[found.end() : found.end() + found.group(1)[0]].decode()
    return "no gRPC" if answer else "no answer"


def exchange(port: Port, asked: bytes, until: bytes) -> bytes:
    """What a port answers, up to a pattern, its end, or silence."""
    host = "::1" if port.address == "::1" else "127.0.0.1" if ":" in port.address else port.address
    answer = b""
    try:
        with socket.create_connection((host.replace("0.0.0.0", "127.0.0.1"), port.number), timeout=5) as connection:
            connection.sendall(asked)
            while not re.search(until, answer, re.S) and (more := connection.recv(65536)):
                answer += more
    except OSError:
        pass
    return answer


def http(port: Port) -> str:
    """The status of plain HTTP, of a path that would start something."""
    asked = b"POST /get_or_create_runtime_env HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    found = re.match(rb"HTTP/1.1 (\d+)", exchange(port, asked, rb"HTTP/1.1 \d+ .*\r\n"))
    return found.group(1).decode() if found else "none"


def refusal(port: Port) -> tuple[bool, str]:
    """Whether a port lets nobody in without the token, and what it says to those who try."""
    if (status := http(port)) != "none":
        return status in ("401", "403"), f"HTTP {status}"
    said = {method: call(port, method, token) for method in METHODS for token in (None, "0" * 64)}
    there = {status for status in said.values() if status != UNIMPLEMENTED}
    return there == {UNAUTHENTICATED}, f"gRPC {', '.join(sorted(there)) or UNIMPLEMENTED}"


def private_folder(path: Path) -> bool:
    """Only we come through one of the folders above a path."""
    return any(p.stat().st_mode & 0o077 == 0 and p.stat().st_uid == os.geteuid() for p in path.parents)


def environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep whose only trial runs in two processes, while it runs."""
    sweep = write_sweep(tmp_path / "tiny.yaml", epochs=5000, seeds=(1,))
    write_empty_store(tmp_path / "results" / DATABASE)
    process = start_sweep(sweep, "--only", "method.name=weights", "--set", "processes=2", cwd=tmp_path)
    try:
        wait_for(lambda: process.poll() is not None or list(tmp_path.glob("results/trials/**/metrics.jsonl")))
        assert process.poll() is None, process.stdout and process.stdout.read()
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)


@pytest.mark.slow
def test_each_port_of_a_sweep_is_local_and_asks_for_the_token(driver: subprocess.Popen[str]) -> None:
    there = family(driver.pid)
    ports = listening(there)
    refused, said = {}, {}
    for port in ports:
        refused[port], said[port] = refusal(port) if port.is_rays else (False, "gloo: not called")
        print(f"{port.pid:>8} {port.name:<22} {port.address:>20}:{port.number:<6} {said[port]}")
    unused = re.compile(r"dashboard/dashboard\.py|_private/(log_)?monitor\.py")
    assert [each.command for each in there if unused.search(each.command)] == []
    assert {"gcs_server", "raylet", "suite.sweep", "suite.train"} <= {port.name for port in ports}
    assert [port for port in ports if not port.is_local] == []
    assert [port for port in ports if port.is_rays and not refused[port]] == []  # a login node's loopback is public

    # The same calls with the token are answered: what was refused is the caller, not the call.
    gcs = next(port for port in ports if port.name == "gcs_server")
    token = Path(environment(gcs.pid)["RAY_AUTH_TOKEN_PATH"])
    assert call(gcs, METHODS[0], token.read_text()) == OK
    assert token.stat().st_mode & 0o777 == 0o600 and private_folder(token)
    sockets = unix_sockets(there)
    print(*sorted(sockets), sep="\n")
    assert any("raylet" in path for path in sockets)
    assert [path for path in sockets if path.startswith("@") or not private_folder(Path(path))] == []
    assert not any(token.read_text() in each.command for each in there)
    assert driver.poll() is None  # and none of this has disturbed it
