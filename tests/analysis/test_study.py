"""The kept study: its page says what its records say, and can be made again from them."""

from pathlib import Path

import pytest

from analysis import export
from analysis.parts import markdown
from analysis.reports import tables
from suite.cli import run
from suite.config.sweep_file import load_sweep
from suite.records.ledger import Ledger

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "explanation" / "study" / "records.jsonl.gz"
SHOWN = {  # which tables of a sweep the page has, and what they match
    "fashion_width": (("table", "differences", "needed"), "weights:0.0625"),
    "fashion_controls": (("table", "differences"), None),
    "fashion_convergence": (("table", "convergence"), None),
}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return export.unpack(RECORDS, tmp_path_factory.mktemp("study") / "results")


@pytest.mark.parametrize("name", SHOWN)
def test_every_row_of_the_page_is_that_of_the_records(ledger: Ledger, name: str) -> None:
    page, (stems, target) = (ROOT / "docs" / "explanation" / "studies.md").read_text(), SHOWN[name]
    sweep = load_sweep(ROOT / "sweeps" / "study" / f"{name}.yaml")
    made = [part for part in tables.build_tables(sweep, ledger, target) if part.stem in stems]
    assert tuple(part.stem for part in made) == stems
    rows = [row for part in made for row in markdown(part.shown).splitlines()]
    assert len(rows) > 10
    assert [row for row in rows if row not in page] == []


@pytest.mark.parametrize("name", ["fashion_tuning", *SHOWN])
def test_every_trial_is_there_and_of_one_code(ledger: Ledger, name: str) -> None:
    sweep = load_sweep(ROOT / "sweeps" / "study" / f"{name}.yaml")
    found = ledger.lookup(sweep.trials)
    assert {each.state for each in found.values()} == {"done"}
    assert len({each.summary.code_id for each in found.values() if each.summary}) == 1


@pytest.mark.slow
def test_the_page_can_be_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from analysis import report

    sweep, out = ROOT / "sweeps" / "study" / "fashion_width.yaml", tmp_path / "page.html"
    assert run(lambda: report.main([str(sweep), "--records", str(RECORDS), "--out", str(out)])) == 0
    assert out.stat().st_size > 100_000
    assert capsys.readouterr().out == f"written: {out}\n"
