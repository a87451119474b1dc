"""What the scan calls usable, both loaders decode to the same pixels: every form that libraries here can write."""

import importlib.util
from pathlib import Path

import pytest
import torch
from support.image_forms import forms

from suite.config import ImageNetSettings
from suite.data.imagenet import loaders, probe, scan
from suite.data.imagenet.manifest import Row
from suite.data.imagenet.probe import ALIKE, Probe

FORMS = {name: (extension, content) for name, extension, content in forms()}
UNUSABLE = {  # and what the scan says of them
    "JPEG 2000 RGB": "wrong extension .jp2",
    "PNG L, 16 bits": "PNG I;16, 16 bits: differs by up to 254 of 256 levels",
    "P6 RGB, maxval 15": "PPM RGB, P6, maximum 15: differs by up to 240 of 256 levels",
    "P5 L, maxval 15": "PPM L, P5, maximum 15: differs by up to 240 of 256 levels",
    "P3 RGB, plain, maxval 1000": "PPM RGB, P3, maximum 1000: differs",
    "P6 RGB, maxval 1000": "PPM RGB, P6, maximum 1000: differs",
    "P2 L, plain, maxval 1000": "PPM I, P2, maximum 1000: differs",
    "P5 L, maxval 1000": "PPM I, P5, maximum 1000: differs",
    "P2 L, plain, maxval 65535": "PPM I, P2, maximum 65535: differs",
    "P5 L, maxval 65535": "PPM I, P5, maximum 65535: differs",
    "P7 RGB": "not an image",
    "BMP RGB, 16 bits": "BMP RGB, 16 bits: DALI cannot decode it",
    **{name: f"{name.split()[0]} image: only JPEG, MPO, PNG" for name in FORMS if name.split()[0] in ("GIF", "TIFF")},
    **{name: f"{name.split()[0]} image: only JPEG, MPO, PNG" for name in FORMS if name.split()[0] in ("ICO", "TGA")},
    **{name: "AVIF image: only JPEG, MPO, PNG" for name in FORMS if name.startswith("AVIF")},
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Row]]:
    """A tree with one file of each form in ``train`` and in ``val``, scanned."""
    root = tmp_path_factory.mktemp("forms") / "tree"
    for tree in ("train", "val"):
        (root / tree / "only").mkdir(parents=True)
        for number, (extension, content) in enumerate(FORMS.values()):
            (root / tree / "only" / f"{number:03d}{extension}").write_bytes(content)
    found = [row for row in scan.scan(scan.Listing(root), root / "manifest.csv", workers=1) if row.path < "val"]
    return root, dict(zip(FORMS, found, strict=True))


def test_the_scan_says_which_forms_are_usable(rows: tuple[Path, dict[str, Row]]) -> None:
    said = {name: row.problem for name, row in rows[1].items() if not row.used}
    assert said.keys() == UNUSABLE.keys()
    assert {name for name, problem in said.items() if not problem.startswith(UNUSABLE[name])} == set()


@pytest.mark.slow
def test_both_loaders_give_the_same_images_of_all_usable_forms(rows: tuple[Path, dict[str, Row]]) -> None:
    root, found = rows
    images = {}
    for loader in ("dali", "torchvision"):
        settings = ImageNetSettings(
            name="imagenet",
            loader=loader,
            root=str(root),
            image_size=56,
            resize=64,
            val_share=0.2,
            max_excluded_share=0.99,
            loader_threads=1,
        )
        data = loaders.make(settings, root.parent, device="cpu", channels_last=False, should_stop=lambda: False)
        images[loader] = torch.cat([pixels for pixels, _ in data.batches("test", 100)])
        assert len(images[loader]) == sum(row.used for row in found.values())
    levels = (images["dali"] - images["torchvision"]).abs() * 255 * 0.229  # the largest deviation of a channel
    assert float(levels.max()) < 2.1  # one level of the pixels, and one of resizing


def test_the_forms_that_are_trusted_are_among_those_that_are_tried() -> None:
    unknown = ("P7 RGB",)  # to Pillow
    assert {probe._decode(content)[1] for name, (_, content) in FORMS.items() if name not in unknown} >= ALIKE


@pytest.mark.parametrize("name", ["P6 RGB, maxval 255", "P6 RGB, maxval 15", "P3 RGB, plain, maxval 255"])
def test_without_dali_only_known_forms_are_usable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(probe, "find_spec", lambda name: None if name.startswith("nvidia") else find(name))
    extension, content = FORMS[name]
    problem, used = Probe("sample").check(content, extension)
    assert used == (name == "P6 RGB, maxval 255")
    assert used or problem.endswith("may differ between loaders; with NVIDIA DALI a scan can compare")


def test_a_known_form_that_another_release_decodes_otherwise_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.data.imagenet.dali_decoder import DaliDecoder

    decode = DaliDecoder.decode
    monkeypatch.setattr(DaliDecoder, "decode", lambda self, content: decode(self, content) // 2)
    extension, content = FORMS["PNG RGB, 8 bits"]
    sample = Probe("sample")
    for _ in range(2):  # not only the first one
        assert sample.check(content, extension)[0].startswith("PNG RGB, 8 bits: differs by up to ")
    assert Probe("odd").check(content, extension) == ("", True)
