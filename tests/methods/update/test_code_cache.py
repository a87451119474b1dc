"""The folder of machine code: this user's alone, whole entries only, and of a limited size."""

import os
from pathlib import Path

import pytest

from suite.methods.update import code_cache
from suite.methods.update.code_cache import CodeCache, NotOurs, default_folder


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "a" / "b")
    assert cache.load("key") is None
    cache.save("key", b"code")
    assert cache.load("key") == CodeCache(tmp_path / "a" / "b").load("key") == b"code"
    assert cache.load("other") is None


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        CodeCache(tmp_path / "a" / "b").save("key", b"code")
    finally:
        os.umask(before)
    assert CodeCache(tmp_path / "a" / "b").load("key") == b"code"


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(NotOurs, match=r"open: mode 755: must be closed to others"):
        CodeCache(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives a folder away")
def test_what_belongs_to_another_user_is_not_used(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "ours")
    cache.save("key", b"code")
    (entry,) = (tmp_path / "ours").glob("*.o")
    os.chown(entry, 4321, 4321)
    assert cache.load("key") is None
    os.chown(tmp_path / "ours", 4321, 4321)
    with pytest.raises(NotOurs, match=r"belongs to user 4321"):
        CodeCache(tmp_path / "ours")


def test_an_entry_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "ours")
    cache.save("key", b"code")
    (entry,) = (tmp_path / "ours").glob("*.o")
    entry.chmod(0o666)
    assert cache.load("key") is None


def test_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_cache, "MOST_BYTES", 1000)
    cache = CodeCache(tmp_path / "ours")
    for i in range(5):
        cache.save(f"key{i}", bytes(300))
        os.utime(tmp_path / "ours" / f"key{i}.o", (i, i))
    assert [i for i in range(5) if cache.load(f"key{i}") is not None] == [2, 3, 4]


def test_one_process_has_the_lock(tmp_path: Path) -> None:
    first, second = (CodeCache(tmp_path / "ours") for _ in range(2))
    with first.lock() as mine, second.lock() as theirs:
        assert (mine, theirs) == (True, False)
    with second.lock() as theirs:
        assert theirs


@pytest.mark.parametrize("given", ["", "relative/path", "/somewhere"])
def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", "/home/me")
    base = Path("/somewhere" if given == "/somewhere" else "/home/me/.cache")
    assert default_folder() == base / "random-pruning-suite" / "code"
