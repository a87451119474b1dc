"""The scan of a tree: what is found, what is left out, what a later call looks at; and what training makes of it."""

import fcntl
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.photos import BROKEN, ODD, encoded
from support.trial_processes import ROOT, wait_for

from suite.config import ImageNetSettings, InputError
from suite.data.imagenet import manifest, probe, scan
from suite.data.imagenet import tree as image_tree
from suite.data.imagenet.manifest import Row
from suite.data.imagenet.probe import Probe

WORDS = {
    "cut in half": ("truncated",),
    "two bytes short": ("truncated",),
    "head only": ("truncated", "not an image", "cannot be decoded"),
    "zero bytes": ("zero bytes",),
    "text": ("not an image",),
    "gif": ("GIF image: only JPEG,",),
    "png cut short": ("truncated",),
}
ODD_WORDS = {"cmyk": "CMYK", "png": "wrong extension: a PNG image named .jpeg", "grey": "", "trailing zeros": ""}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
CLASSES = ("n01", "n02", "n10")


@cache
def photo(seed: int, kind: str = "JPEG") -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return encoded(Image.fromarray(small).resize((40 + seed % 7, 30)), kind)


def put(root: Path, name: str, seed: int = 0, kind: str = "JPEG") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo(seed, kind))
    return path


def small_tree(root: Path, per_class: int = 4) -> Path:
    for tree in ("train", "val"):
        for label, name in enumerate(CLASSES):
            for i in range(per_class):
                put(root, f"{tree}/{name}/{name}_{i}.JPEG", 100 * label + i + 50 * (tree == "val"))
    return root


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes and DALI take a second to start: the tests that need some start the command itself."""
    monkeypatch.setattr(scan, "ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(workers))
    monkeypatch.setattr(probe, "find_spec", lambda name: None)


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were looked at."""
    seen: list[str] = []

    examine = Probe.examine

    def noting(probe: Probe, root: Path, path: str, label: int) -> Row:
        seen.append(path)
        return examine(probe, root, path, label)

    monkeypatch.setattr(Probe, "examine", noting)
    return seen


def rows_of(root: Path, *flags: str) -> dict[str, Row]:
    assert scan.main([str(root), "--workers", "2", *flags]) == 0
    return {row.path: row for row in manifest.read(root / "manifest.csv", root)}


def settings(root: Path, **changes: Any) -> ImageNetSettings:
    return ImageNetSettings(name="imagenet", loader="torchvision", root=str(root), **{"val_share": 0.5, **changes})


def read(root: Path, **changes: Any) -> image_tree.Files:
    return image_tree.read(settings(root, **changes), root.parent)


def command(root: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "suite.data.imagenet.scan", str(root), "--workers", "2", *flags]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_image_is_left_out(tmp_path: Path, kind: str) -> None:
    small_tree(tmp_path)
    path = tmp_path / "train/n02/n02_1.JPEG"
    path.write_bytes(BROKEN[kind](path.read_bytes()))
    rows = rows_of(tmp_path)
    assert [name for name, row in rows.items() if not row.used] == ["train/n02/n02_1.JPEG"]
    problem = rows["train/n02/n02_1.JPEG"].problem
    assert problem.startswith(WORDS[kind])
    assert all(not row.problem for row in rows.values() if row.used)


def test_odd_images_are_kept(tmp_path: Path) -> None:
    small_tree(tmp_path)
    for i, (kind, change) in enumerate(ODD.items()):
        path = tmp_path / f"train/n01/n01_{i}.JPEG"
        path.write_bytes(change(path.read_bytes()))
        assert Probe().examine(tmp_path, f"train/n01/n01_{i}.JPEG", 0).problem == ODD_WORDS[kind]
    rows = rows_of(tmp_path)
    assert all(row.used for row in rows.values())
    assert sorted(row.problem for row in rows.values() if row.problem) == sorted(filter(None, ODD_WORDS.values()))


def test_rows_say_what_is_in_the_files(tmp_path: Path) -> None:
    small_tree(tmp_path)
    for name, row in rows_of(tmp_path).items():
        path = tmp_path / name
        assert (row.size, row.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
        assert row.crc32 == zlib.crc32(path.read_bytes())
        assert row.label == CLASSES.index(name.split("/")[1])


def test_what_is_no_image_by_its_name(tmp_path: Path) -> None:
    small_tree(tmp_path)
    put(tmp_path, "train/n01/notes.txt")
    put(tmp_path, "train/n01/none")
    put(tmp_path, "val/n01/x.JPEG.bak")
    rows = rows_of(tmp_path)
    assert rows["train/n01/notes.txt"].problem.startswith("wrong extension .txt:")
    assert rows["train/n01/none"].problem.startswith("wrong extension (none):")
    assert [row.used for row in rows.values() if not row.is_image] == [False] * 3
    assert len(read(tmp_path).paths) == 24  # and they do not count as images that cannot be used


def test_a_class_without_an_image(tmp_path: Path) -> None:
    small_tree(tmp_path)
    for tree in ("train", "val"):
        (tmp_path / tree / "n05").mkdir()
    rows = rows_of(tmp_path)
    assert (rows["train/n05/"].problem, rows["train/n05/"].used) == ("empty class folder", False)
    assert rows["train/n10/n10_0.JPEG"].label == 3  # n05 lies between, as for ImageFolder(allow_empty=True)
    with pytest.raises(InputError, match=r"classes without a usable image in train: n05: mend or remove"):
        read(tmp_path, max_excluded_share=0.99)
    put(tmp_path, "train/n05/a.JPEG")
    rows_of(tmp_path)
    with pytest.raises(InputError, match=r"classes without a usable image in val: n05: mend or remove"):
        read(tmp_path, max_excluded_share=0.99)


def test_a_class_of_broken_images_is_refused(tmp_path: Path) -> None:
    small_tree(tmp_path)
    for path in (tmp_path / "train/n02").iterdir():
        path.write_bytes(b"")
    rows_of(tmp_path)
    with pytest.raises(InputError, match="classes without a usable image in train: n02:"):
        read(tmp_path, max_excluded_share=0.99)


def test_only_new_and_changed_files_are_looked_at(tmp_path: Path, examined: list[str]) -> None:
    small_tree(tmp_path)
    before = rows_of(tmp_path)
    assert sorted(examined) == sorted(before)
    examined.clear()
    assert rows_of(tmp_path) == before and not examined
    put(tmp_path, "train/n01/new.JPEG", 7)
    put(tmp_path, "val/n02/n02_0.JPEG", 8)
    (tmp_path / "train/n02/n02_0.JPEG").unlink()
    after = rows_of(tmp_path)
    assert sorted(examined) == ["train/n01/new.JPEG", "val/n02/n02_0.JPEG"]
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {"train/n01/new.JPEG", "val/n02/n02_0.JPEG", "train/n02/n02_0.JPEG"}
    assert list(after) == list(rows_of(tmp_path, "--again"))


def test_a_file_garbled_behind_its_date_is_found_with_again(tmp_path: Path) -> None:
    small_tree(tmp_path)
    before = rows_of(tmp_path)
    path = tmp_path / "train/n02/n02_1.JPEG"
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert rows_of(tmp_path) == before
    assert rows_of(tmp_path, "--again")["train/n02/n02_1.JPEG"].problem == "not an image"


def test_used_edited_by_hand_is_kept(tmp_path: Path) -> None:
    small_tree(tmp_path)
    rows = rows_of(tmp_path)
    name, path = "val/n02/n02_1.JPEG", tmp_path / "manifest.csv"
    before = next(line for line in path.read_text().splitlines() if line.startswith(f"{name},"))
    edited = f"{before.removesuffix(',1,')},0,a picture of nobody"
    path.write_text(path.read_text().replace(before, edited))
    put(tmp_path, "train/n01/new.JPEG", 3)
    after = rows_of(tmp_path)
    assert after[name] == rows[name]._replace(used=False, problem="a picture of nobody")
    files = read(tmp_path, max_excluded_share=0.5)
    assert name not in {files.name(i) for i in range(24)} and len(files.paths) == 24


def test_killed_it_goes_on(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree", 120)
    for i in range(0, 120, 7):
        (tree / f"train/n02/n02_{i}.JPEG").write_bytes(photo(i)[: -20 - i])
    wanted = manifest.path_of(tree)
    rows_of(tree)
    quiet = wanted.read_bytes()
    wanted.unlink()
    journal, sizes = tree / ".manifest.csv.journal", []
    for least in (1, 20_000):  # killed twice
        process = subprocess.Popen(command(tree), env=ENVIRONMENT, start_new_session=True)
        wait_for(lambda: (journal.exists() and journal.stat().st_size >= least) or wanted.exists(), every=0.002)  # noqa: B023
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        sizes.append(journal.stat().st_size if journal.exists() else 0)
    assert sizes[0] and (wanted.exists() or sizes[0] <= sizes[1])
    subprocess.run(command(tree), env=ENVIRONMENT, check=True, capture_output=True)
    assert wanted.read_bytes() == quiet
    assert sorted(path.name for path in tree.iterdir()) == ["manifest.csv", "train", "val"]


def test_a_journal_cut_anywhere(tmp_path: Path, examined: list[str]) -> None:
    small_tree(tmp_path, 2)
    (tmp_path / "train/n02/n02_0.JPEG").write_bytes(b"404")  # what is cut is what is said about it, too
    rows = list(rows_of(tmp_path).values())
    path, journal = tmp_path / "manifest.csv", tmp_path / ".manifest.csv.journal"
    quiet, whole, more = path.read_bytes(), manifest.text_of(rows[:3]).encode(), manifest.text_of(rows[3:5]).encode()
    assert whole.endswith(b",0,not an image\n")
    for end in (0, *range(whole.rindex(b"\n", 0, -1), len(whole) + 1)):  # anywhere in the last line
        for rest in (b"", more):  # killed once, and once more
            path.unlink()
            journal.write_bytes(whole[:end] + rest)
            examined.clear()
            rows_of(tmp_path)
            assert path.read_bytes() == quiet and not journal.exists()
            assert rest or len(examined) == len(rows) - whole[:end].count(b"\n")


def test_all_kinds_of_names(tmp_path: Path) -> None:
    small_tree(tmp_path)
    names = [b"a,b.JPEG", b'say "so".JPEG', b" lead.JPEG", b"two  spaces.JPEG", "Müße 猫.JPEG".encode()]
    names += [b"\xff\xfe\x80.JPEG", b"#.JPEG", b"tab\t.JPEG", b"'.JPEG", b'"', b"%s %d.JPEG", b"-.JPEG"]
    for i, name in enumerate(names):
        path = os.fsencode(tmp_path) + b"/train/n02/" + name
        Path(os.fsdecode(path)).write_bytes(photo(i))
    first = rows_of(tmp_path)
    assert {f"train/n02/{os.fsdecode(name)}" for name in names} < set(first)
    assert rows_of(tmp_path) == first
    files = read(tmp_path)
    assert len(files.paths) == 24 + len(names) - 1
    assert all((tmp_path / files.name(i)).is_file() for i in range(len(files.paths)))


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines", "\r\n", 'a,"\r'])
def test_a_line_break_in_a_name_is_a_problem(tmp_path: Path, name: str) -> None:
    small_tree(tmp_path)
    path = str(put(tmp_path, f"train/n01/{name}.JPEG").relative_to(tmp_path))
    rows = rows_of(tmp_path)
    assert (rows[path].used, rows[path].problem) == (False, "a line break in its name")
    assert len(rows) == 25 and rows_of(tmp_path) == rows
    files = read(tmp_path, max_excluded_share=0.5)
    assert {files.name(i) for i in range(24)} == {*rows} - {path}


def test_a_file_that_became_a_dangling_link(tmp_path: Path) -> None:
    small_tree(tmp_path)
    before, path = rows_of(tmp_path), tmp_path / "train/n02/n02_1.JPEG"
    path.unlink()
    path.symlink_to("nowhere")
    after = rows_of(tmp_path)
    assert after.pop("train/n02/n02_1.JPEG")[5:] == (False, "cannot be read: No such file or directory")
    assert after.items() < before.items() and len(after) == 23


def test_the_manifest_may_lie_elsewhere(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    with pytest.raises(InputError, match="name another --manifest FILE"):
        scan.main([str(tree), "--manifest", str(tmp_path / "none" / "m.csv")])
    assert scan.main([str(tree), "--manifest", str(tmp_path / "m.csv")]) == 0
    assert sorted(path.name for path in tree.iterdir()) == ["train", "val"]
    assert len(read(tree, manifest=str(tmp_path / "m.csv")).paths) == 24
    assert len(read(tree, manifest="m.csv").paths) == 24  # below the data folder
    with pytest.raises(
        InputError, match=r"no such file: run python -m suite.data.imagenet.scan .*/tree --manifest .*/n.csv"
    ):
        read(tree, manifest="n.csv")


def test_where_nothing_can_be_written(tmp_path: Path, disk: Callable[[int], Path]) -> None:
    tree = small_tree(disk(400))
    if subprocess.run(["mount", "-o", "remount,ro", str(tree)], capture_output=True, check=False).returncode:
        pytest.skip("this user may not remount a disk")
    with pytest.raises(InputError, match=rf"^{tree}/manifest\.csv: cannot be written .*: name another --manifest FILE"):
        scan.main([str(tree)])
    assert scan.main([str(tree), "--manifest", str(tmp_path / "m.csv"), "--workers", "2"]) == 0
    assert len(read(tree, manifest=str(tmp_path / "m.csv")).paths) == 24


def test_only_one_scans(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    with (tree / ".manifest.csv.journal").open("w") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        done = subprocess.run(command(tree), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{tree}: another process scans: wait for it\n"
    assert not (tree / "manifest.csv").exists()
    assert len(rows_of(tree)) == 24 and not (tree / ".manifest.csv.journal").exists()


def test_no_tree(tmp_path: Path) -> None:
    for root in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="must have class folders in"):
            scan.main([str(root)])
        with pytest.raises(InputError, match=r"image-net\.org"):
            read(root)
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="must have class folders in"):
        scan.main([str(tmp_path)])


def test_the_command(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    (tree / "val/n02/n02_3.JPEG").write_bytes(b"")
    done = subprocess.run(command(tree), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{tree}/manifest.csv: 24 images, 1 of them not used",
        "  1 x zero bytes",
        "  val/n02/n02_3.JPEG: zero bytes (not used)",
    ]
    done = subprocess.run(command(tmp_path / "no"), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)


def test_not_scanned_and_no_manifest(tmp_path: Path) -> None:
    small_tree(tmp_path)
    with pytest.raises(InputError, match=rf"no such file: run python -m suite.data.imagenet.scan {tmp_path} once"):
        image_tree.check(settings(tmp_path), tmp_path)
    rows_of(tmp_path)
    whole = (tmp_path / "manifest.csv").read_bytes()
    for garbled in (b"", b"hello\n", whole[: len(whole) // 2], whole.replace(b",", b";"), whole + b'"'):
        (tmp_path / "manifest.csv").write_bytes(garbled)
        with pytest.raises(InputError, match=r"delete it and run python -m suite\.data\.imagenet\.scan"):
            read(tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_that_is_gone_is_found_before_the_first_epoch(tmp_path: Path, split: str) -> None:
    small_tree(tmp_path)
    rows_of(tmp_path)
    place = {"train": "train/n02", "test": "val/n02"}[split]
    (tmp_path / place).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"images of {split} are missing: {place}/n02_\d\.JPEG: restore them, or run"):
        read(tmp_path)
