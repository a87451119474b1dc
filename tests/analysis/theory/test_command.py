"""The search and the command."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.theory import __main__ as command
from analysis.theory import exact_probabilities, experiment, theory_tables
from analysis.theory.experiment import WidthSearch, search, successes
from suite.config import InputError


def test_successes_are_clopper_pearsons() -> None:
    for trials, delta in ((59, 0.05), (200, 0.05), (100, 0.1)):
        least = successes(trials, delta)
        low = [stats.binomtest(k, trials).proportion_ci(0.9, "exact").low for k in (least - 1, least)]
        assert low[0] < 1 - delta <= low[1]
    with pytest.raises(InputError, match="trials: 58: must be 59 or more"):
        successes(58, 0.05)


@pytest.mark.slow
def test_a_certified_width_is_enough_as_often_as_certified() -> None:
    """Of fresh draws at least 1 - delta succeed with it, in nearly all repetitions: here exactly known."""
    cell = WidthSearch("extreme", "one unit", (1, 1), 0.3, 0.2, 2)
    missed = exact_probabilities.missed_one(0.3, 2)
    shares = [(1 - missed ** search(cell, trials=40, seed=seed).units) ** 2 for seed in range(30)]
    assert np.mean([share >= 0.8 for share in shares]) > 0.8
    assert np.mean(shares) < 0.97


def test_the_law_and_drawing_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = WidthSearch("random", "one unit", (2, 1), 0.2, 0.2, 1)
    drawn = search(cell, trials=200, seed=1)
    monkeypatch.setattr(experiment, "MOST_DRAWN", 10)
    by_law = search(cell, trials=200, seed=1)
    assert (drawn.how, by_law.how) == ("drawn", "law")
    assert by_law.units == pytest.approx(drawn.units, rel=0.35)


@pytest.mark.parametrize("kind", theory_tables.KINDS)
@pytest.mark.parametrize("method", theory_tables.METHODS)
def test_two_layers_bracket(kind: theory_tables.Kind, method: theory_tables.Method) -> None:
    found = [
        search(WidthSearch(kind, method, (2, 2, 1), 0.4, 0.2, 3, by), trials=20, seed=0).units
        for by in ("lower", "upper")
    ]
    assert found[0] <= found[1]
    assert experiment.Found(3, "drawn").width((2, 2, 1)) == 3 * 8 + 3 * 4


@pytest.mark.parametrize("kind", theory_tables.KINDS)
@pytest.mark.parametrize("draws", [1, 10])
def test_what_is_needed_is_below_what_is_enough(kind: theory_tables.Kind, draws: int) -> None:
    cells = [WidthSearch(kind, method, (2, 1), 0.2, 0.1, draws) for method in theory_tables.METHODS]
    one, several = (search(cell, trials=40, seed=0).width(cell.widths) for cell in cells)
    assert several <= one <= experiment.proved_width(cells[0]) <= experiment.theorem_width(cells[0])


@pytest.mark.slow
def test_subset_sums_need_what_it_takes_to_reach_the_weight_at_all() -> None:
    """f(x) = x: how many units, on both sides of 0, until their positive products add up to 1 - eps."""
    trials, eps, random = 200, 0.01, np.random.default_rng(5)
    found = search(WidthSearch("extreme", "subset sum", (1, 1), eps, 0.05, 1), trials=trials, seed=0).units
    products = np.prod(np.maximum(random.uniform(-1, 1, (2, trials, 2, 150)), 0.0), axis=0)
    needed = 1 + (products.cumsum(axis=-1) < 1 - eps).sum(axis=-1).max(axis=-1)
    assert found == pytest.approx(np.sort(needed)[successes(trials, 0.05) - 1], rel=0.2)


def test_fits_find_what_was_put_in() -> None:
    eps = np.array([0.4, 0.2, 0.1, 0.05])
    table = pd.DataFrame({"target": "random", "eps": eps, "(a)": 3 * eps**-1.5, "(b)": 2 - 7 * np.log(eps)})
    fits = theory_tables.fit_table(table).set_index("mask")
    assert fits[["c", "b"]].to_numpy().tolist() == [pytest.approx([3, 1.5]), pytest.approx([2, 7])]
    noisy = table.assign(**{"(a)": table["(a)"] * [1.1, 0.9, 1.1, 0.9]})
    row = theory_tables.fit_table(noisy).iloc[0]
    assert row["low"] < row["b"] < row["high"]


def test_the_theorem_falls_below_the_proved_bound_where_the_widths_say() -> None:
    plan = theory_tables.Plan()
    crossing = theory_tables.first_below(plan)
    widths = theory_tables.curve(plan, range(1, crossing + 1))
    assert (widths["theorem"] < widths["proved"]).tolist() == [False] * (crossing - 1) + [True]


@pytest.mark.slow
def test_the_command_writes_the_same_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--trials", "10", "--delta", "0.3", "--inputs", "1", "--seed", "3"]
    for folder in ("one", "two"):
        assert command.main([*arguments, "--out", str(tmp_path / folder)]) == 0
    files = sorted((tmp_path / "one").iterdir())
    assert len(files) == 13
    for file in files:
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
    printed = capsys.readouterr().out
    assert (tmp_path / "one" / "theory.md").read_text() in printed
    table = pd.read_csv(tmp_path / "one" / "draws.csv")
    assert len(table) == 6 and (table["theorem"] >= table["(a)"]).all() and (table["(a)"] >= table["(b)"]).all()
    assert (table["needed (a)"] <= table["(a)"]).mean() > 0.5


def rows_not_on_the_page(repository: Path, made: dict[str, pd.DataFrame], least: int = 10) -> list[str]:
    """Compared by their cells: how wide a column is depends on its other rows."""

    def rows(text: str) -> list[str]:
        return [" ".join(line.split()) for line in text.splitlines() if line.startswith("| ")]

    page = rows((repository / "docs" / "explanation" / "theorem.md").read_text())
    wanted = rows(theory_tables.markdown(theory_tables.Plan(), made))
    assert len(wanted) > least
    return [row for row in wanted if row not in page]


def test_the_page_has_the_tables_of_the_formulas(repository: Path) -> None:
    plan = theory_tables.Plan()
    made = {"theorem": theory_tables.theorem_table(plan), "optimism": theory_tables.optimism_table(plan)}
    assert rows_not_on_the_page(repository, made) == []


def test_random_numbers_of_a_cell_are_those_of_the_kept_tables() -> None:
    """Names of the code may change, the tables not: both settings and seed decide, and nothing else."""
    cell = WidthSearch("random", "one unit", (4, 1), 0.1, 0.05, 10)
    assert cell.random(0, 3).integers(10**6, size=2).tolist() == [692060, 300483]
    assert cell.random(0, 3).random() == replace(cell, by="lower").random(0, 3).random()


@pytest.mark.slow
def test_the_page_has_the_widths_of_a_single_weight(repository: Path) -> None:
    """The cheapest row of the searches: the page is that of this code."""
    plan = replace(theory_tables.Plan(), shapes=((1, 1),), shape_draws=(10,))
    assert rows_not_on_the_page(repository, {"shapes": theory_tables.shapes_table(plan)}, least=2) == []


def shown_cells(repository: Path) -> pd.DataFrame:
    """The rows of the page's tables with a certified width of (a), as text; ``inputs``, ``outputs`` of l = 1."""
    page = (repository / "docs" / "explanation" / "theorem.md").read_text()
    found, head = [], []
    for line in page.splitlines():
        values = [value.strip() for value in line.strip("|").split("|")] if line.startswith("|") else []
        if values[:1] == ["target"] and "(a)" in values:
            head = values
        elif values and head and not values[0].startswith(":"):
            found.append(dict(zip(head, values, strict=True)))
        elif not values:
            head = []
    table = pd.DataFrame(found)
    kind = table["kind"].fillna(table["target"])
    shape = table["target"].where(table["kind"].notna(), "4-1")
    columns = {"kind": kind, "shape": shape, "R": table["R"].fillna("1"), "eps": table["eps"].fillna("0.1")}
    return table.assign(**columns)


def test_the_pages_certified_widths_succeed_as_often_as_it_says(repository: Path) -> None:
    """Exactly known for extreme targets and for a single weight; one certificate in twenty may be wrong."""
    cells = shown_cells(repository)
    known = cells[cells["success (a)"] != ""].drop_duplicates(["kind", "shape", "R", "eps"])
    shares = []
    for row in known.to_dict("records"):
        inputs, outputs = map(int, row["shape"].split("-"))
        units = int(row["(a)"]) // (2 * inputs * outputs)
        eps, draws = float(row["eps"]), int(row["R"])
        shares.append(exact_probabilities.success_of_one(eps, draws, units))
        assert row["success (a)"] == f"{shares[-1]:.3g}", row
        needed = 2 * inputs * outputs * exact_probabilities.units_for_one(eps, 0.05, draws)
        assert row["needed (a)"] == str(needed), row
        assert float(row["theorem / needed"]) == pytest.approx(int(row["theorem"]) / needed, rel=6e-3), row
    page = " ".join((repository / "docs" / "explanation" / "theorem.md").read_text().split())
    below = sum(share < 0.95 for share in shares)
    assert f"Of {len(shares)} cells whose success is known exactly, {below} succeed" in " ".join(page.split())
    assert f"the lowest with probability {min(shares):.3f}" in " ".join(page.split())


def test_the_page_says_below_which_delta_the_threshold_is_too_low(repository: Path) -> None:
    page = " ".join((repository / "docs" / "explanation" / "theorem.md").read_text().split())
    tenth, thousandth = (f"{exact_probabilities.optimistic_below(eps):.3g}" for eps in (0.1, 0.001))
    assert f"At eps = 0.1 that begins below delta = {tenth}, at eps = 0.001 below {thousandth}." in page


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_page_has_all_tables(repository: Path) -> None:
    assert rows_not_on_the_page(repository, theory_tables.all_tables(theory_tables.Plan())) == []


def test_mistakes_are_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        command.main(["--eps", "1.5", "--delta", "0", "--inputs", "9", "--seed", "-1"])
    assert error.value.problems == (
        "--eps: 1.5: must be between 0 and 1",
        "--delta: 0.0: must be between 0 and 1",
        "--inputs: 9: must be from 1 to 8",
        "--seed: -1: must be 0 or more",
    )
