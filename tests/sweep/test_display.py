"""What a sweep shows while it runs and at its end, on a screen that is narrow or wide, and where nobody looks."""

import csv
from pathlib import Path

import pytest
from support.fake_results import write_result
from support.sweep_files import AXES, Load
from support.terminal_captures import WIDTHS, Clock, Scene, captures, end, on_terminal, scene, state

from analysis.reports import tables
from suite.config.varying import TrialNames
from suite.records.ledger import Ledger
from suite.sweep.cost import CostModel, kind_of
from suite.sweep.result_view import show_results
from suite.sweep.time_left import START_SECONDS, TimeLeft
from suite.table_layout import Column, Layout

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def shown() -> dict[int, dict[str, str]]:
    return {columns: captures(columns) for columns in WIDTHS}


# On a terminal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", WIDTHS)
def test_it_says_at_once_what_it_does(shown: dict[int, dict[str, str]], columns: int) -> None:
    assert shown[columns]["start"].splitlines()[-1] == "starting Ray ..."


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_bar_counts_epochs_and_each_trial_that_ends_leaves_a_line(
    shown: dict[int, dict[str, str]], columns: int
) -> None:
    lines = shown[columns]["middle"].splitlines()
    assert "683/1600" in lines[-4]
    assert lines[-3] == "2 running, 4 done, 1 diverged, 1 failed, 8 waiting; 0:01:13 left"
    assert [line.split()[0] for line in lines[2:8]] == ["done", "done", "diverged", "failed:", "done", "done"]
    assert lines[-2].endswith("seed 2 sparsity=0.5: epoch 71/100, val 0.906")  # what varies


@pytest.mark.parametrize("columns", WIDTHS)
def test_ctrl_c_is_answered_in_a_panel_that_is_drawn_once(shown: dict[int, dict[str, str]], columns: int) -> None:
    lines = shown[columns]["stop"].splitlines()
    assert lines[-3] == "stopping: 2 trials save themselves, at most 43 s; Ctrl-C again stops now"
    assert sum(line.startswith("epochs") for line in lines) == 1
    assert "epochs" not in shown[columns]["stopped"]


def test_states_have_colours() -> None:
    with scene() as made, on_terminal(80) as screen:
        from suite.terminal import console

        before, console._color_system = console._color_system, 1  # type: ignore[assignment] # the standard colours
        try:
            made.start()
            made.run_half()
            made.stopped()
        finally:
            console._color_system = before
    assert {"32", "35", "31"} <= screen.styles  # green, magenta, red


def test_a_line_that_is_longer_than_the_terminal_is_cut_and_the_panel_drawn_once() -> None:
    with scene() as made, on_terminal(40) as screen:
        made.start()
        made.run_half()
        for _ in range(3):
            made.display._panel.refresh()
        seen = screen.text
        made.stopped()
    assert seen.count("epochs ") == 1 and seen.count("2 running") == 1


# Where nobody looks -------------------------------------------------------------------------------------------------


def test_output_that_is_piped_says_the_same_in_lines(capsys: Said) -> None:
    with scene() as made:
        made.start()
        made.run_half()
        made.stop()
    lines = capsys.readouterr().out.splitlines()
    assert "starting Ray ..." in lines
    assert lines[-1] == "stopping: 2 trials save themselves, at most 60 s; Ctrl-C again stops now"
    assert any(
        line.startswith("[1/16] done: weights x0.0625 seed 1; 1 running, 1 done, 14 waiting; ") for line in lines
    )


@pytest.mark.parametrize(("asked", "status", "said"), [(True, 130, "stopped, and Ray"), (False, 1, "Ray was killed")])
def test_ray_that_dies_of_a_signal_to_all_processes_is_a_stop(
    capsys: Said, asked: bool, status: int, said: str
) -> None:
    """A batch system signals Ray's servers too, whatever their sessions."""
    with scene() as made:
        assert made.display.ray_died(asked=asked) == status
    assert capsys.readouterr().out.startswith(said)


# Tables -------------------------------------------------------------------------------------------------------------

COLUMNS = (Column("id"), Column("method", 1), Column("data", 7), Column("where", 6), Column("val"))
ROWS = [(f"id-{i}", "m" * 10, "digits", f"a machine {i}", "0.5") for i in range(3)]


def test_what_all_rows_have_in_common_is_said_once() -> None:
    layout = Layout.fitted(COLUMNS, ROWS, 80)
    assert (layout.header, layout.same, layout.dropped) == (
        ("id", "where", "val"),
        f"method {'m' * 10}, data digits",
        "",
    )


def test_a_narrow_terminal_drops_the_least_important_first_and_id_and_value_never() -> None:
    rows = [(*row[:1], row[1] + str(i), *row[2:]) for i, row in enumerate(ROWS)]
    found = [Layout.fitted(COLUMNS, rows, width) for width in (80, 30, 20, 10)]
    assert [layout.header[1:-1] for layout in found] == [("method", "where"), ("method",), (), ()]
    assert [layout.dropped for layout in found] == ["", "where", "method, where", "method, where"]
    assert [layout.fits for layout in found] == [True, True, True, False]
    assert {layout.rows[2][:: len(layout.header) - 1] for layout in found} == {("id-2", "0.5")}


def test_output_that_is_piped_has_all_columns() -> None:
    assert Layout.whole(COLUMNS, ROWS).header == ("id", "method", "data", "where", "val")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_state_of_trials_can_be_read(columns: int) -> None:
    with scene() as made:
        ids = made.ids
    printed = state(columns)
    assert max(map(len, printed.splitlines())) <= columns
    assert all(trial_id in printed for trial_id in ids)
    for word in ("diverged", "failed", "unfinished", "not begun", "0.710"):
        assert word in printed
    assert ("sparsity=0.5" in printed and "x0.0625" in printed) == (columns >= 80)


# The end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_end_fits_the_screen(columns: int) -> None:
    lines = end(columns).splitlines()
    assert len(lines) <= 20 and max(map(len, lines)) <= columns
    assert "95.83 (90.7, 98.2)" in lines[2] and "-14.7 (-20.6, -8.8)" in "\n".join(lines)


def test_a_large_sweep_shows_some_rows_and_says_how_many_more(tmp_path: Path) -> None:
    header = "dataset,model,width,method,n,planned,seeds,mean,low,high,parameters,kept"
    rows = [f"digits,conv2,{w / 8},m lr={lr},2,2,1 2,0.95,0.9,0.98,1,1" for lr in range(40) for w in range(1, 5)]
    (tmp_path / "table.csv").write_text("\n".join([header, *rows]))
    with on_terminal(80) as screen:
        assert show_results(tmp_path)
    lines = screen.text.splitlines()
    assert len(lines) <= 20 and "more rows in the report" in screen.text


def test_the_report_has_the_columns_that_the_end_shows(load: Load) -> None:
    sweep, ledger = load(AXES), Ledger(Path("results"))
    for trial in sweep.trials.values():
        write_result(ledger, trial)
    _, files = tables.make(sweep, ledger)
    with on_terminal(120) as screen:
        assert show_results(files[0].parent)
    assert "edge_popup sparsity=0.3" in screen.text and "edge_popup sparsity=0.3 - weights" in screen.text


@pytest.mark.parametrize("content", [None, "", "width,method\n0.5,x\n", "\x00"])
def test_a_report_that_cannot_be_read_is_shown_whole(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "table.csv").write_text(content)
    assert not show_results(tmp_path)


# The time left ------------------------------------------------------------------------------------------------------


def trials_of(made: Scene) -> TimeLeft:
    return TimeLeft(made.sweep.trials, {}, clock=made.clock)


def test_the_wait_for_ray_does_not_count_for_each_trial() -> None:
    """A minute of imports before trials of two seconds: sixteen of them, two at a time."""
    with scene() as made:
        left = trials_of(made)
        left.runs(2)
        made.clock.now += 60
        assert left.seconds() is None
        for i in range(4):
            left.progress(made.ids[i], 0)
            left.measured(made.ids[i], 2.0 if made.trial(i).model.width_mult < 0.1 else 8.0, 100)
        assert left.seconds() == pytest.approx((4 * 2 + 8 * 8) / 2)


def test_like_trials_of_earlier_runs_tell_it_from_the_start_with_the_time_to_start() -> None:
    with scene() as made:
        kinds = {kind_of(trial.model_dump(mode="json")) for trial in made.sweep.trials.values()}
        clock = Clock()
        left = TimeLeft(made.sweep.trials, dict.fromkeys(kinds, CostModel(0.01)), at_once=2, clock=clock)
        assert left.seconds() == pytest.approx(16 * 1.0 / 2 + START_SECONDS)
        clock.now += START_SECONDS / 2
        assert left.seconds() == pytest.approx(8 + START_SECONDS / 2)


def test_a_trial_that_runs_tells_the_pace_before_any_has_ended() -> None:
    with scene() as made:
        left = trials_of(made)
        left.progress(made.ids[0], 90, at=5.0)
        left.progress(made.ids[0], 80, at=6.0)
        per_epoch = 0.1
        assert left.seconds() == pytest.approx((80 + 700) * per_epoch + 800 * per_epoch * 4)


# Names --------------------------------------------------------------------------------------------------------------


def test_names_say_what_varies(load: Load) -> None:
    names = TrialNames(load(AXES).trials)
    found = [names[trial_id] for trial_id in load(AXES).trials]
    assert found[:3] == [
        "weights x0.5 seed 1",
        "edge_popup x0.5 seed 1 sparsity=0.3",
        "edge_popup x0.5 seed 1 sparsity=0.6",
    ]
    mixed = AXES.replace("conv2", "[conv2, conv4]").replace("epochs: 2, ", "") + "  epochs: [2, 3]\n"
    trials = load(mixed).trials
    assert len({TrialNames(trials)[trial_id] for trial_id in trials}) == len(trials)


def test_the_columns_of_the_csv_file_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(
        "method,width,mean,new,low,high,model,dataset\nm,1,0.5,x,0.4,0.6,conv2,digits\n"
    )
    with (tmp_path / "table.csv").open() as file:
        assert list(csv.DictReader(file))
    with on_terminal(80) as screen:
        assert show_results(tmp_path)
    assert "50.00 (40.0, 60.0)" in screen.text
