"""Files from elsewhere: 10,000 mutated networks are each refused in one line, or loaded, and nothing else happens.

They are read in a process of its own (``python test_untrusted.py FOLDER``), whose memory is bounded and which writes
what it saw to ``FOLDER/seen.json``. Mutations made "right" have the checksums that an attacker would give them.
"""

import json
import os
import pickle
import random
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.ticket_mutations import (
    bombs,
    fitted,
    join_dense,
    join_ticket,
    mutated,
    normed,
    real_dense,
    real_tickets,
    small,
    split_dense,
    split_ticket,
)
from support.ticket_networks import Bag, trained

from suite import models, tickets
from suite.config.registry import REGISTRY
from suite.tickets import dense, networks
from suite.tickets.header import NetworkMetadata

KINDS = {"bytes": 2000, "bytes_right": 2600, "header_right": 3400, "safetensors": 800, "safetensors_right": 1200}
SHARE = 4  # of these mutations `make test-all` reads a quarter, `make test-long` all
MOST_WEIGHTS = 10_000_000
MOST_SECONDS = 10.0  # of processor time for one file; the slowest took 1
MORE_MEMORY = 3 << 29  # than the process has when all is imported: 1.5 GiB


# --- The process that reads them ---

_FORBIDDEN = (
    "pickle.",
    "os.exec",
    "os.system",
    "os.spawn",
    "subprocess.",
    "socket.",
    "exec",
    "compile",
    "ctypes.dlopen",
)
_watching, _events = False, Counter[str]()


def watch(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook: what no reader of data has reason to do."""
    is_written = event == "open" and isinstance(args[1], str) and any(letter in args[1] for letter in "wax+")
    if _watching and (event.startswith(_FORBIDDEN) or is_written):
        _events[event] += 1


def no_pickle(*args: Any, **kwargs: Any) -> Any:
    _events["pickle"] += 1
    raise AssertionError("a pickle was opened")


def outcome(call: Callable[[], Any]) -> tuple[str, str]:
    """What came of reading a file: ("loaded" | "refused" | "WRONG", the details)."""
    global _watching
    start = time.process_time()
    _watching = True
    try:
        call()
        found = ("loaded", "")
    except tickets.TicketError as error:
        text = str(error)
        found = ("refused", text) if len(text.splitlines()) == 1 else ("WRONG", f"not one line: {text!r:.300}")
    except BaseException as error:  # a panic of Rust code is no Exception
        last = traceback.extract_tb(error.__traceback__)
        where = next((f"{Path(f.filename).name}:{f.lineno}" for f in reversed(last) if "/suite/" in f.filename), "?")
        found = ("WRONG", f"{type(error).__name__} at {where}: {error!s:.200}")
    _watching = False
    took = time.process_time() - start
    return ("WRONG", f"took {took:.1f} s") if took > MOST_SECONDS else found


def main(folder: Path, share: int) -> None:
    chance, file, last_digest = random.Random(0), folder / "mutated", [""]
    ours, real_safetensors = real_tickets(folder), real_dense()
    own_digest = networks.digest

    def noting_digest(state: Any) -> str:
        last_digest[0] = own_digest(state)
        return last_digest[0]

    networks.digest = noting_digest  # how a mutated file learns which digest it should have said
    seen: dict[str, Any] = {kind: Counter() for kind in [*KINDS, "bombs"]}
    wrong: dict[str, dict[str, str]] = {kind: {} for kind in seen}

    def read(kind: str, data: bytes, needs_model: bool, name: str = "") -> str:
        file.write_bytes(data)
        last_digest[0] = ""
        results = [outcome(lambda: tickets.info(file))]
        model = normed() if needs_model else None
        results.append(outcome(lambda: tickets.load(file, model=model, max_weights=MOST_WEIGHTS)))
        for result, details in results:
            if result == "WRONG":
                kept = folder / f"wrong-{kind}-{len(wrong[kind])}"
                if details.split(": ")[0] not in {other.split(": ")[0] for other in wrong[kind]}:
                    kept.write_bytes(data)
                    wrong[kind][f"{details}"] = f"{kept} {name}"
        seen[kind][results[1][0]] += 1
        return results[1][1]

    for data, needs_model in [*ours, *real_safetensors]:  # also imports all there is to import
        assert read("bytes", data, needs_model) == "", "a real file is refused"
    seen["bytes"].clear()
    for name in models.names():  # a file may name another network than the real ones do
        REGISTRY.find("model", name).load()
    torch.load = pickle.load = pickle.loads = pickle.Unpickler = no_pickle
    sys.addaudithook(watch)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MORE_MEMORY,) * 2)

    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for name, data, needs_model in bombs(ours):
        read("bombs", data, needs_model, name)
    for kind, num in KINDS.items():
        is_dense = kind.startswith("safetensors")
        for i in range(num // share):
            real, needs_model = chance.choice(real_safetensors if is_dense else ours)
            data = mutated(kind, i, real, chance)
            problem = read(kind, data, needs_model)
            if "checksum differs" in problem and last_digest[0] and kind.endswith("right"):
                header, body = (split_dense if is_dense else split_ticket)(data)
                (header["__metadata__"]["suite"] if is_dense else header)["digest"] = last_digest[0]
                read(kind, (join_dense if is_dense else join_ticket)(header, body), needs_model)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident
    (folder / "seen.json").write_text(json.dumps({"seen": seen, "wrong": wrong, "events": _events, "grown": grown}))


# --- What came of it ---


def fuzz(folder: Path, share: int) -> dict[str, Any]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[1:3])),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, str(folder), str(share)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr and "panicked" not in ended.stderr
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return fuzz(tmp_path_factory.mktemp("untrusted"), SHARE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "bytes",
        "bytes_right",
        "header_right",
        "safetensors",
        "safetensors_right",
        "bombs",
    ],
)
def test_each_file_is_refused_in_one_line_or_loaded(kind: str, seen: dict[str, Any]) -> None:
    assert seen["wrong"][kind] == {}


@pytest.mark.slow
def test_many_files_came_through_and_most_did_not(seen: dict[str, Any]) -> None:
    """Mutations that never load test the first check alone, so those that are made right must load at times."""
    assert sum(sum(seen["seen"][kind].values()) for kind in KINDS) >= 10_000 // SHARE
    for kind, num in KINDS.items():
        assert seen["seen"][kind]["refused"] > num / SHARE / 2, kind
    for kind in ("bytes_right", "header_right", "safetensors_right"):
        assert seen["seen"][kind]["loaded"] > 20 / SHARE, kind
    assert "loaded" not in seen["seen"]["bytes"], "SHA-256 lets a changed file through"


@pytest.mark.slow
def test_nothing_was_executed_opened_for_writing_or_unpickled(seen: dict[str, Any]) -> None:
    assert seen["events"] == {}


@pytest.mark.slow
def test_little_memory_was_taken(seen: dict[str, Any]) -> None:
    """The largest that loads, of 4.2 million weights, takes 0.17 GiB while it is decoded; others say much more."""
    assert seen["grown"] < 1 << 29


# --- Single files that were once neither refused nor loaded ---


def dense_file(num_classes: int, change: Callable[[dict[str, torch.Tensor]], Any], path: Path) -> Path:
    """A file in int8 whose tensors were changed, and whose digest is right all the same."""
    model = small(num_classes)
    stored = dense._stored(model.state_dict(), "int8")
    change(stored)
    about = networks.with_build_arguments(model, NetworkMetadata())
    header = dense.DenseMetadata(**dict(about), form="int8", method="weights", digest=networks.digest(stored))
    path.write_bytes(
        dense.import_safetensors().torch.save(stored, {"suite": header.model_dump_json(exclude_defaults=True)})
    )
    return path


def ticket_file(which: int, change: Callable[[dict[str, Any]], Any], path: Path) -> Path:
    """A ticket whose header was changed, and whose SHA-256 is right all the same."""
    header, body = split_ticket(real_tickets(path.parent)[which][0])
    change(header)
    path.write_bytes(join_ticket(header, fitted(header, body)))
    return path


def check_refused(call: Callable[[], Any]) -> None:
    assert outcome(call)[0] == "refused", outcome(call)


def test_info_of_draw_counts_that_are_garbled(tmp_path: Path) -> None:
    path = ticket_file(2, lambda header: header["sources"][0].update(num_draws=0), tmp_path / "t")
    check_refused(lambda: tickets.load(path))
    check_refused(lambda: tickets.info(path))


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("kind", ["seed", "signs", "draws", "values"])
def test_random_weights_of_a_wrong_dtype(kind: str, dtype: str, tmp_path: Path) -> None:
    """Kinds that draw are as long as before: the digest tells them. `signed_constant` may round to equal numbers."""
    model = Bag([(30, 20), (10, 10)])
    name = "iterand" if kind in ("signs", "draws") else "edge_popup"
    distribution = {"seed": "kaiming_uniform", "draws": "kaiming_uniform", "signs": "signed_constant"}.get(kind)
    optimizer = trained(name, [*model.weights], distribution=distribution)
    tickets.save(tmp_path / "t", model, optimizer)
    header, body = split_ticket((tmp_path / "t").read_bytes())
    for layer in header["layers"]:
        assert layer["theta"][0] == kind
        layer["theta_dtype"] = dtype
    (tmp_path / "t").write_bytes(join_ticket(header, body))
    if (kind, dtype) == ("signs", "float64"):
        assert networks.digest(tickets.load(tmp_path / "t", model=model).state_dict()) == header["digest"]
    else:
        check_refused(lambda: tickets.load(tmp_path / "t", model=model))


@pytest.mark.parametrize("where", ["key", "tensor", "torch"])
def test_names_of_two_lines(where: str, tmp_path: Path) -> None:
    def change(header: dict[str, Any]) -> None:
        if where == "key":
            header["two\nlines\x1b[2J"] = 1
        elif where == "tensor":
            header["tensors"].append({"name": "two\nlines", "shape": [0], "dtype": "float32"})
        else:
            header.update(digest="0" * 64, versions={"torch": "two\nlines"})

    path = ticket_file(0, change, tmp_path / "t")
    check_refused(lambda: tickets.load(path))


def test_a_bias_of_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ticket_file(0, lambda header: header["tensors"][0].update(dtype="int32"), tmp_path / "t")
    digest = tickets.info(path).header.digest
    monkeypatch.setattr(networks, "digest", lambda state: digest)  # as if it had been made right
    check_refused(lambda: tickets.load(path))


@pytest.mark.parametrize(
    "scale",
    [None, torch.ones(3), torch.ones(2_000_000), torch.ones(1, dtype=torch.int8)],
    ids=["no", "3", "many", "i8"],
)
def test_scales_of_another_shape(scale: torch.Tensor | None, tmp_path: Path) -> None:
    """One class: a scale of n numbers for a weight of (1, 16) would be broadcast to (n, 16)."""

    def change(stored: dict[str, torch.Tensor]) -> None:
        del stored["10.weight.scale"]
        if scale is not None:
            stored["10.weight.scale"] = scale

    path = dense_file(1, change, tmp_path / "d")
    check_refused(lambda: tickets.load(path, max_weights=1000))


def test_an_empty_tensor_of_very_many_columns(tmp_path: Path) -> None:
    header, body = split_dense(real_dense()[0][0])
    header["more"] = {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}
    (tmp_path / "d").write_bytes(join_dense(header, body))
    check_refused(lambda: tickets.load(tmp_path / "d"))
    outcome(lambda: tickets.info(tmp_path / "d"))  # whichever it is, it is told without a traceback


@pytest.mark.long
def test_ten_thousand_mutations(tmp_path: Path) -> None:
    seen = fuzz(tmp_path, 1)
    assert all(wrong == {} for wrong in seen["wrong"].values())
    assert sum(sum(seen["seen"][kind].values()) for kind in KINDS) >= 10_000


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
