"""Which processes there are, which of them belong together, and where they listen: read from /proc."""

import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("127.", "::1", "::ffff:127.")


@dataclass(frozen=True)
class Port:
    """A TCP port and the process that listens there."""

    pid: int
    name: str
    address: str
    number: int

    @property
    def is_rays(self) -> bool:
        return self.name != "suite.train"

    @property
    def is_local(self) -> bool:
        return self.address.startswith(LOOPBACK)


@dataclass(frozen=True)
class Process:
    """A line of the table of processes."""

    pid: int
    parent: int
    session: int
    command: str

    @property
    def name(self) -> str:
        found = re.search(r"ray::\S+|gcs_server|raylet|suite\.(sweep|train)", self.command)
        return found.group() if found else self.command[:40]


def processes() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        yield Process(int(folder.name), int(parent), int(session), command)


def family(pid: int) -> list[Process]:
    """A process, all that descend from it, share a session with one of them, or name its Ray's folder."""
    there, found, before = list(processes()), {pid}, 0
    scratch = "no folder yet"
    while len(found) > before:
        before = len(found)
        mine = [each for each in there if each.pid in found]
        scratch = next((m.group() for each in mine if (m := re.search(r"/\S*suite-ray-\w+", each.command))), scratch)
        found |= {e.pid for e in there if e.parent in found or e.session in found or scratch in e.command}
    return [each for each in there if each.pid in found]


def listening(of: list[Process]) -> list[Port]:
    """The TCP ports on which some processes listen."""
    sockets = {}
    for kind in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A":
                sockets[f"socket:[{inode}]"] = address(local)
    found = {Port(each.pid, each.name, *sockets[link]) for each in of for link in links(each.pid) if link in sockets}
    return sorted(found, key=lambda port: (port.pid, port.number))


def address(local: str) -> tuple[str, int]:
    """Of /proc/net/tcp and tcp6: words of four bytes in this machine's order."""
    host, _, port = local.partition(":")
    words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)), int(port, 16)


def unix_sockets(of: list[Process]) -> set[str]:
    """The paths of the Unix sockets on which some processes listen; "@..." has none."""
    theirs = {link for each in of for link in links(each.pid)}
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {line[7] for line in lines if len(line) > 7 and line[3] == "00010000" and f"socket:[{line[6]}]" in theirs}


def links(pid: int) -> list[str]:
    """What the descriptors of a process stand for."""
    found = []
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found.append(os.readlink(path))
        except OSError:
            continue  # closed meanwhile
    return found
