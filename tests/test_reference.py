"""The pages of docs/reference that are made from code say what the code says."""

from pathlib import Path

import pytest
from support import reference_pages
from support.reference_pages import PAGES, described_classes

from suite.config import Settings
from suite.config.descriptions import descriptions

HOMES = ("suite.config", "suite.slurm")
ABSTRACT = {
    "NamedSettings",
    "MethodSettings",
    "MaskedSettings",
    "SparseSettings",
    "ModelSettings",
    "ArraySettings",
    "OwnImageSettings",
    "UpdateSettings",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes(repository: Path, name: str) -> None:
    kept = (repository / "docs/reference" / name).read_text(encoding="utf-8")
    assert kept == PAGES[name](), "run make docs-reference"


@pytest.mark.parametrize("cls", list(described_classes()), ids=lambda cls: cls.__name__)
def test_each_setting_has_a_description(cls: type[Settings]) -> None:
    described = descriptions(cls)
    assert described.keys() == cls.model_fields.keys()
    assert all(text[-1] == "." and (text[0].isupper() or text[0] == "`") for text in described.values())


def test_each_class_of_settings_is_on_the_page() -> None:
    found = [Settings]
    for cls in found:
        found += [other for other in cls.__subclasses__() if other.__module__.startswith(HOMES)]
    written = {cls.__name__ for cls in found[1:]} - ABSTRACT
    assert written == {cls.__name__ for cls in described_classes()}


def test_the_command_writes_all_pages(tmp_path: Path) -> None:
    reference_pages.main(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == PAGES.keys()
