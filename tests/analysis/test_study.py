"""The kept studies: their page says what their records say, sentence by sentence, and is made again by one command."""

import re
from pathlib import Path

import pytest
from support import study_page
from support.study_page import PAGE, ROOT, Studies

from analysis.parts.cells import cells
from suite.cli import run
from suite.config.sweep_file import load_sweep

RECORDS = PAGE.parent / "study" / "records.jsonl.gz"
STUDIES = ("digits_30", "digits", "fashion_width", "fashion_controls", "fashion_convergence")
_NUMBER = re.compile(r"(?<![\w.:=/-])[+-]?(\d+(?:,\d{3})*(?:\.\d+)?(?: ± \d+\.\d+)?)")
_NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|^#.*?$|\b[A-Z]+-\d+", re.DOTALL | re.MULTILINE)
_OF_DESIGN = ("How its settings were chosen", "Design", "How to repeat it")  # sections that say what was planned
FACTS = {  # numbers of sentences that no table of results has: they are those of a design, a rule or a machine
    *("1,797", "1,257", "180", "360", "64", "256", "10", "1", "3", "100", "5", "1001", "1025"),  # digits and Conv2
    *("52", "104", "300", "40", "15"),  # Fashion-MNIST: redraws, K_per, epochs, channels
    *("0.05", "0.1", "0.01"),  # Holm's p, what a form may lose, r
    *("2", "3.11", "2.13"),  # cores, Python, torch
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Studies:
    return Studies(tmp_path_factory.mktemp("studies"))


def numbers_in(text: str) -> list[str]:
    """Numbers without their signs, ``1.08 ± 1.00`` as one."""
    return _NUMBER.findall(text)


def prose_of(text: str) -> str:
    """A page's own words: without generated tables, code, links and headings."""
    sections = re.split(r"^(?=#)", study_page.parts(text)[1], flags=re.MULTILINE)
    told = [section for section in sections if section.partition("\n")[0].lstrip("# ") not in _OF_DESIGN]
    return _NOT_PROSE.sub(" ", "".join(told))


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_the_tables_of_the_page_are_made_from_the_records(studies: Studies, name: str) -> None:
    """``make docs-studies`` writes them."""
    page = PAGE.read_text()
    assert study_page.regenerated(page, studies, [name]) == page


def test_every_number_of_a_sentence_is_in_a_table_of_the_page() -> None:
    page = PAGE.read_text()
    known = {*numbers_in(study_page.parts(page)[0]), *FACTS}
    found = numbers_in(prose_of(page))
    assert len(found) > 100
    assert [number for number in found if number not in known] == []
    assert FACTS - {*found} == set()


def test_every_interval_of_a_table_by_hand_is_a_cell_of_a_generated_one() -> None:
    made, rest = study_page.parts(PAGE.read_text())
    cells, made_cells = ({cell.strip() for cell in re.split(r"[|\n]", text)} for text in (rest, made))
    intervals = {cell for cell in cells if re.fullmatch(r"[\d.]+ \(.* to .*\)", cell)}
    assert len(intervals) >= 10
    assert intervals - made_cells == set()


def test_the_headline_of_the_readme_is_in_a_table_of_the_page() -> None:
    headline = re.search(r"^The figure shows .*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert headline
    numbers = [each for each in numbers_in(_NOT_PROSE.sub(" ", headline.group())) if "." in each]
    assert len(numbers) >= 3
    assert {*numbers} - {*numbers_in(study_page.parts(PAGE.read_text())[0])} == set()


@pytest.mark.parametrize("name", ["tuning", "width", "controls", "convergence"])
def test_every_trial_is_there_and_those_of_a_cell_are_of_one_code(studies: Studies, name: str) -> None:
    sweep = load_sweep(ROOT / "sweeps" / "study" / f"fashion_{name}.yaml")
    found = studies.ledger(f"fashion_{name}").lookup(sweep.trials)
    assert {each.state for each in found.values()} == {"done"}
    for cell in cells(sweep, studies.ledger(f"fashion_{name}")):  # two arms of the controls were added later
        assert len({(result.code_id, *result.devices) for result in cell.results.values()}) == 1


@pytest.mark.slow
def test_the_page_can_be_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from analysis import report

    sweep, out = ROOT / "sweeps" / "study" / "fashion_width.yaml", tmp_path / "page.html"
    assert run(lambda: report.main([str(sweep), "--records", str(RECORDS), "--out", str(out)])) == 0
    assert out.stat().st_size > 100_000
    assert capsys.readouterr().out == f"written: {out}\n"
