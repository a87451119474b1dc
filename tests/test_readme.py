"""The README and the pages of docs/: code works as printed, tables are those of the sweeps, links lead somewhere."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from support.documents import ROOT, blocks, documents

import suite
from suite import config
from suite.config.sweep_file import load_sweep

README, STUDIES = ROOT / "README.md", ROOT / "docs/explanation/studies.md"
DEFAULT = ROOT / "sweeps/width_vs_acc.yaml"
_ROW = re.compile(r"^\| +([\d.]+) \| (\w+) +\| +(?:10 of 10|30 of 30) \|.*$", re.MULTILINE)  # of digits


def texts(language: str, file: Path | str = README) -> list[str]:
    return [block.text for block in blocks(file) if block.language == language]


def test_it_is_one_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


def test_the_python_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, code = texts("python", "docs/reference/api.md")
    exec(names, scope := {})
    assert set(suite.__all__) == scope.keys() - {"__builtins__"}
    exec(code, {})  # it asserts that the loaded network says the same


def test_the_optimizer_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = texts("python")
    assert len([line for line in code.splitlines() if line and not line.startswith("import torch")]) <= 12
    exec(code, scope := {})
    model, images, labels = scope["model"], scope["images"], scope["labels"]
    for layer in (model[0], model[2]):
        mask = scope["optimizer"].mask(layer.weight)
        assert torch.equal(layer.weight == 0, ~mask)
        assert (~mask).sum() == round(0.5 * (mask.numel() - 1))
    assert (model(images).argmax(1) == labels).float().mean() > 0.9  # it has learnt something


def test_the_sweep_of_the_readme_is_a_part_of_the_default_study(tmp_path: Path) -> None:
    """So its table has the rows of that study."""
    (text,) = texts("yaml")
    assert len(text.splitlines()) == 5
    (tmp_path / "first.yaml").write_text(text)
    assert load_sweep(tmp_path / "first.yaml").trials.keys() < load_sweep(DEFAULT).trials.keys()
    rows = [found.group() for found in _ROW.finditer(README.read_text())]
    assert len(rows) == 2
    assert [row for row in rows if row not in STUDIES.read_text()] == []
    assert texts("yaml", "docs/tutorial.md")[0] == text


@pytest.mark.parametrize("page", [page for page in documents() if texts("yaml", page)], ids=lambda page: page.name)
def test_sweep_files_load(page: Path, tmp_path: Path) -> None:
    for text in texts("yaml", page):
        if "grid" in yaml.safe_load(text):
            (tmp_path / "s.yaml").write_text(text)
            assert load_sweep(tmp_path / "s.yaml", contents=lambda images: "0" * 16).trials


def test_the_sweep_file_of_the_reference_has_as_many_trials_as_it_says(tmp_path: Path) -> None:
    page = ROOT / "docs/reference/sweep_files.md"
    (tmp_path / "s.yaml").write_text(texts("yaml", page)[0])
    assert f"= {len(load_sweep(tmp_path / 's.yaml').trials)} trials" in page.read_text()


def test_the_table_of_the_studies_is_the_default_sweeps() -> None:
    page, sweep = STUDIES.read_text(), load_sweep(DEFAULT)
    shown = [found.groups() for found in _ROW.finditer(page)]
    assert {width for width, _ in shown} == {f"{trial.model.width_mult:g}" for trial in sweep.trials.values()}
    assert {method for _, method in shown} == {trial.method.name for trial in sweep.trials.values()}
    for trial in sweep.trials.values():
        row = rf"\| {trial.method.name} \| {trial.method.lr:g} \| {trial.method.weight_decay:g} \|"
        assert re.search(row, page), row


def test_what_is_included_is_what_there_is() -> None:
    table = README.read_text().partition("## What is included")[2].partition("\n## ")[0]
    columns = zip(*(row.strip("| \n").split("|") for row in re.findall(r"^\| `.*$", table, re.MULTILINE)), strict=True)
    shown = [set(re.findall(r"`(\w+)`", " ".join(column))) for column in columns]
    assert shown == [set(config.METHODS), set(config.MODELS), set(config.DATASETS)]


def links(page: Path) -> list[tuple[Path, str]]:
    """The files, and the anchors in them, that a page points to."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    return [
        ((page.parent / name).resolve() if name else page, anchor)
        for name, _, anchor in (t.partition("#") for t in targets)
    ]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for file, anchor in links(page):
        assert file.exists(), file
        assert not anchor or anchor in anchors(file), f"{file}#{anchor}"


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_repository_that_are_named_are_there(page: Path) -> None:
    rooms = "suite|analysis|tests|benchmarks|sweeps|slurm|docs"
    named = re.findall(rf"`((?:{rooms})/[\w/.-]+\.\w+)`", page.read_text())
    examples = {block.file for block in blocks(page) if block.language == "python"}
    named = [name for name in named if "NAME" not in name and name not in examples | {"slurm/mine.yaml"}]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_is_reached_from_the_index() -> None:
    reached = {file for file, _ in links(ROOT / "docs/index.md")}
    assert [page for page in (ROOT / "docs").rglob("*.md") if page not in reached | {ROOT / "docs/index.md"}] == []


def test_pages_that_the_code_names_are_there() -> None:
    """A docstring refers to nothing outside the repository."""
    code = [file for room in ("suite", "analysis", "benchmarks", "tests") for file in (ROOT / room).rglob("*.py")]
    named = {(file.name, name) for file in code for name in re.findall(r"\bdocs/[\w/-]+\.\w+", file.read_text())}
    assert len(named) > 5
    assert [each for each in named if not (ROOT / each[1]).exists()] == []


def test_the_tree_of_contributing_is_that_of_the_repository() -> None:
    (tree,) = texts("text", "CONTRIBUTING.md")
    folders, named = [""], []
    for line in tree.splitlines():
        indent, entry = re.match(r"( *)(.*)", line).groups()  # type: ignore[union-attr]
        if len(indent) <= 4 and entry.split()[0].endswith("/"):
            folders = [*folders[: len(indent) // 2 + 1], folders[len(indent) // 2] + entry.split()[0]]
            named.append(folders[-1])
        folder = folders[1] if len(indent) == 2 and not entry.split()[0].endswith("/") else folders[-1]
        named += [folder + name for name in re.findall(r"(?<![/\w])(\w+\.py)\b", entry)]
    assert [name for name in named if not (ROOT / name).exists()] == []
    rooms = {
        f"{file.parent.relative_to(ROOT)}/" for top in ("suite", "analysis") for file in (ROOT / top).glob("*/*.py")
    }
    assert rooms <= set(named)


def test_the_citation_has_the_papers_of_the_readme() -> None:
    citation, readme = yaml.safe_load((ROOT / "CITATION.cff").read_text()), README.read_text()
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert len(citation["references"]) == readme.count("@inproceedings") == 2
    for paper in citation["references"]:
        assert f"title     = {{{paper['title']}}}" in readme
        authors = [f"{each['family-names']}, {each['given-names']}" for each in paper["authors"]]
        assert f"author    = {{{' and '.join(authors)}}}" in readme
        assert paper["identifiers"][0]["value"] in readme
