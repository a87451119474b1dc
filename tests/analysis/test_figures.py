"""Figures: what is drawn, where, and that equal records give equal files."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib import image
from matplotlib.figure import Figure

from analysis import figures as figures_command
from analysis.parts import style
from analysis.reports import figures
from analysis.statistics.intervals import t_interval
from suite.config.method_looks import LOOKS
from suite.records.ledger import Ledger

NAMES = ("figure.png", "figure.svg", "pareto.png", "pareto.svg", "differences.png", "differences.svg")
DENSE = "dense (SGD)"
SPARSITIES = ("sparsity: 0.5", "sparsity: [0.3, 0.6]")


def lines_of(figure: Figure) -> list[dict[str, Any]]:
    """By panel: series -> line."""
    named = [[line for line in axes.get_lines() if not line.get_label().startswith("_")] for axes in figure.axes]
    return [{line.get_label(): line for line in own} for own in named]


def test_png_and_svg_are_written(sweep: Any, fill: Any) -> None:
    planned = sweep()
    ledger = fill(planned)
    files = figures.make(planned, ledger)
    assert files == [ledger.root / "reports" / "two_methods" / name for name in NAMES]
    pixels = image.imread(files[0])
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 1000
    assert pixels[..., :3].min() < 0.2 < 0.9 < pixels[..., :3].max()
    svg = ElementTree.parse(files[1]).getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert not style.pyplot.get_fignums()


@pytest.mark.slow
def test_equal_records_give_equal_files(sweep: Any, fill: Any) -> None:
    planned = sweep()
    ledger = fill(planned)
    first = [file.read_bytes() for file in figures.make(planned, ledger)]
    assert [file.read_bytes() for file in figures.make(planned, ledger)] == first
    fill(planned, lambda trial: {"metrics": {"test/top1": 0.5}} if trial.seed == 2 else {})
    assert all(file.read_bytes() != old for file, old in zip(figures.make(planned, ledger), first, strict=True))


def test_accuracy_against_parameters(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    figures.make(planned, fill(planned))
    figure = drawn[0]
    total, kept = lines_of(figure)
    assert total.keys() == kept.keys() == {DENSE, "edge-popup"}
    for series, counts in ((DENSE, [250, 500]), ("edge-popup", [125, 250])):
        assert total[series].get_xdata().tolist() == [250, 500]
        assert kept[series].get_xdata().tolist() == counts
        assert kept[series].get_ydata().tolist() == pytest.approx([0.82, 0.82])
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "parameters of the network",
        "parameters kept after pruning",
    ]
    assert figure.axes[0].get_ylabel() == "test accuracy, 95 % band"
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {DENSE, "edge-popup"}
    assert figure.get_suptitle() == "two_methods"


def test_the_band_is_the_interval_over_seeds(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    figures.make(planned, fill(planned, lambda t: {} if t.method.name == "weights" else None))
    half = t_interval([0.81, 0.82, 0.83]).half_width
    for axes in drawn[0].axes:
        (band,) = axes.collections
        corners = {(x, round(y, 9)) for x, y in band.get_paths()[0].vertices.tolist()}
        assert corners >= {(x, round(0.82 + sign * half, 9)) for x in (250, 500) for sign in (-1, 1)}


def test_no_band_leaves_what_can_be(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    figures.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": {1: 0.0, 2: 1.0, 3: 1.0}[t.seed]}}))
    for axes in drawn[0].axes:
        heights = [y for band in axes.collections for y in band.get_paths()[0].vertices[:, 1].tolist()]
        assert (min(heights), max(heights)) == (0.0, 1.0)


def test_what_is_missing_leaves_a_gap(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    figures.make(
        planned, fill(planned, lambda t: {} if t.model.width_mult == 0.5 or t.method.name == "weights" else None)
    )
    total, _ = lines_of(drawn[0])
    assert total[DENSE].get_xdata().tolist() == [250, 500]
    assert total["edge-popup"].get_xdata().tolist() == [500]


def test_nothing_done_at_all(sweep: Any, tmp_path: Path, written: list[Figure]) -> None:
    files = figures.make(sweep(), Ledger(tmp_path / "results"))
    assert lines_of(written[0]) == [{}, {}]
    assert len(written) == 1 and not written[0].legends
    assert all(file.stat().st_size > 1000 for file in files)


def test_one_method_at_one_width_with_one_seed(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    figures.make(planned, fill(planned, lambda t: {} if t is next(iter(planned.trials.values())) else None))
    assert [len(lines) for lines in lines_of(drawn[0])] == [1, 1]


def test_a_sweep_that_evaluates_no_test_draws_validation(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep(("epochs: 1,", "epochs: 1, evaluate_test: false,"))
    figures.make(planned, fill(planned))
    assert drawn[0].axes[0].get_ylabel() == "validation accuracy, 95 % band"
    assert lines_of(drawn[0])[0][DENSE].get_ydata().tolist() == pytest.approx([0.72, 0.72])


def test_settings_that_vary_make_series(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep(SPARSITIES)
    figures.make(planned, fill(planned))
    for lines in lines_of(drawn[0]):
        assert list(lines) == [DENSE, "edge-popup sparsity=0.3", "edge-popup sparsity=0.6"]


def look(line: Any) -> tuple[Any, ...]:
    return line.get_color(), line.get_marker(), line.get_linestyle(), line.get_fillstyle()


def test_methods_look_different(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    figures.make(planned := sweep(), fill(planned))
    looks = [look(line) for line in lines_of(drawn[0])[0].values()]
    assert all(len(set(each)) == 2 for each in list(zip(*looks, strict=True))[:3])  # by colour, by marker, and by line


@pytest.mark.parametrize(
    "varied",
    [
        SPARSITIES,
        ("name: conv2", "name: [conv2, conv4]"),
        ("sparsity: 0.5", f"sparsity: [{', '.join(f'0.{i:02}' for i in range(13))}]"),
    ],
)
def test_series_can_be_told_apart(sweep: Any, fill: Any, drawn: list[Figure], varied: tuple[str, str]) -> None:
    planned = sweep(varied)
    figures.make(planned, fill(planned))
    for lines in lines_of(drawn[0]):
        assert len({look(line) for line in lines.values()}) == len(lines) > 2
        for method in (DENSE, "edge-popup"):  # alike in colour and marker, unlike in line or filling
            assert len({look(line)[:2] for name, line in lines.items() if name.startswith(method)}) == 1


def test_a_series_looks_alike_in_both_panels(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep(SPARSITIES)
    figures.make(planned, fill(planned))
    total, kept = ({name: look(line) for name, line in lines.items()} for lines in lines_of(drawn[0]))
    assert total == kept


@pytest.mark.parametrize(
    ("varied", "nets"),
    [
        ([("name: conv2", "name: [conv2, conv4]")], ["conv2, digits", "conv4, digits"]),
        (
            [("dataset: digits, ", ""), ("seed:", "dataset: [digits, mnist]\n  seed:")],
            ["conv2, digits", "conv2, mnist"],
        ),
    ],
)
def test_the_legend_names_networks_and_data_where_there_are_several(
    sweep: Any, fill: Any, drawn: list[Figure], varied: list[tuple[str, str]], nets: list[str]
) -> None:
    planned = sweep(*varied)
    figures.make(planned, fill(planned))
    named = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert sorted(named) == sorted(f"{method}, {net}" for method in (DENSE, "edge-popup") for net in nets)


@pytest.mark.parametrize("num", [2, 11])
def test_no_legend_hides_the_curves(sweep: Any, fill: Any, drawn: list[Figure], num: int) -> None:
    planned = sweep(("sparsity: 0.5", f"sparsity: [{', '.join(f'0.{i:02}' for i in range(num - 1))}]"))
    figures.make(planned, fill(planned))
    assert [len(lines) for lines in lines_of(drawn[0])] == [num, num]
    (legend,) = drawn[0].legends
    assert len(legend.get_texts()) == num
    drawn[0].draw_without_rendering()
    place = legend.get_window_extent()
    for axes in drawn[0].axes:
        assert axes.get_legend() is None
        assert not place.overlaps(axes.get_tightbbox())
        assert axes.get_window_extent().height > drawn[0].dpi * 1.5  # inches: the curves keep their room
    assert drawn[0].bbox.x0 <= place.x0 < place.x1 <= drawn[0].bbox.x1


@pytest.mark.parametrize("spread", [0.3, 0.01, 0.001])
def test_ticks_have_the_decimals_they_need(sweep: Any, fill: Any, drawn: list[Figure], spread: float) -> None:
    planned = sweep()
    figures.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": 0.5 + spread * t.model.width_mult}}))
    drawn[0].draw_without_rendering()
    axes = drawn[0].axes[0]
    low, high = axes.get_ylim()
    labels = [tick.get_text() for tick in axes.get_yticklabels() if low <= tick.get_position()[1] <= high]
    assert len(set(labels)) == len(labels) > 2
    assert all(label.endswith("%") for label in labels)


def test_a_diverged_trial_is_not_drawn(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    change = {"status": "diverged", "metrics": {"test/top1": 0.1}}
    figures.make(planned, fill(planned, lambda t: change if t.model.width_mult == 0.25 or t.seed == 2 else {}))
    total, _ = lines_of(drawn[0])
    assert total[DENSE].get_xdata().tolist() == [500]
    assert total[DENSE].get_ydata().tolist() == pytest.approx([0.82])


def test_the_command(sweep: Any, fill: Any, capsys: pytest.CaptureFixture[str]) -> None:
    planned = sweep()
    ledger = fill(planned)
    assert figures_command.main([str(planned.path), "--results", str(ledger.root)]) == 0
    folder = ledger.root / "reports" / "two_methods"
    assert capsys.readouterr().out == f"written: {' '.join(str(folder / name) for name in NAMES)}\n"


def test_a_part_of_a_sweep_has_a_figure_of_its_own(sweep: Any, fill: Any) -> None:
    planned = sweep()
    ledger = fill(planned)
    assert figures_command.main([str(planned.path), "--results", str(ledger.root), "--only", "seed=[1, 2]"]) == 0
    (folder,) = (ledger.root / "reports").iterdir()
    assert folder.name == "two_methods-only-seed=1,2-30e82f"


def test_methods_without_a_style_of_their_own_look_different_in_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "METHODS", {**style.METHODS, **dict.fromkeys("abcd")})
    looks = [(each["marker"], each["color"]) for each in map(style.style_of, [*LOOKS, *"abcd"])]
    assert len(set(looks)) == len(LOOKS) + 4
    assert [style.style_of(name)["marker"] for name in "dcba"] == [marker for marker, _ in reversed(looks)][:4]


def test_accuracies_near_one_are_spread_by_their_error_and_keep_their_labels(
    sweep: Any, fill: Any, drawn: list[Figure]
) -> None:
    planned = sweep()
    top1 = {0.25: 0.97, 0.5: 0.997}
    figures.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": top1[t.model.width_mult]}}))
    axes = drawn[0].axes[0]
    low, middle, high = axes.transData.transform([(300, 0.97), (300, 0.99), (300, 0.997)])[:, 1]
    assert (high - middle) == pytest.approx(middle - low, rel=0.15)  # an equal step for a third of the error
    drawn[0].draw_without_rendering()
    labels = {tick.get_text().replace(".0", "") for tick in axes.get_yticklabels()}
    assert {"98%", "99%"} <= labels
    assert "logarithmic in the error" in axes.get_ylabel()
    assert lines_of(drawn[0])[0][DENSE].get_ydata().tolist() == pytest.approx([0.97, 0.997])


def test_each_seed_is_a_dot(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    figures.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": 0.5 + 0.1 * t.seed}}))
    dots = [line for line in drawn[0].axes[0].get_lines() if line.get_label() == "_seeds"]
    assert [line.get_ydata() for line in dots] == [pytest.approx([0.6, 0.7, 0.8])] * 4


def test_differences_have_a_panel_a_pair_and_an_interval_a_width(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    better = {"weights": 0.0, "edge_popup": 0.3}

    def change(t: Any) -> dict[str, Any]:
        far = better[t.method.name] if t.model.width_mult == 0.5 else 0.0
        noise = 0.01 * ((t.seed * 7 + len(t.method.name)) % 3)
        return {"metrics": {"test/top1": 0.5 + far + noise}}

    figures.make(planned, fill(planned, change))
    (figure,) = [each for each in drawn if "differences" in each.get_suptitle()]
    (panel,) = figure.axes
    assert panel.get_title() == "edge-popup\n- dense (SGD)"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0.25", "0.5"]
    assert [len(bars.get_segments()) for bars in panel.collections] == [1, 1]
    filled = [line.get_markerfacecolor() for line in panel.get_lines() if line.get_marker() == "o"]
    assert filled == ["white", "#0072b2"]  # only at width 0.5 the interval leaves out 0


def test_points_of_a_front_have_their_width(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    figures.make(planned, fill(planned, lambda t: {"metrics": {"test/top1": t.model.width_mult}}))
    assert {text.get_text() for text in drawn[1].axes[0].texts} == {"x0.25", "x0.5"}
