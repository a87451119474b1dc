"""Sizes of stored networks: which form counts, in tables and figures, by examples that can be checked by head."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from support.fake_results import fake_result

from analysis.parts.cells import Cell
from analysis.parts.stored_forms import Size, smallest_form
from analysis.reports import figures, tables
from suite.config import Trial
from suite.records import Summary

TOP1, VAL = "test/top1", "val/top1"
BYTES = {"ticket": 210, "fp32": 4100, "bf16": 2100, "int8": 1100, "int8-coded": 1300, "int4": 800}
PARTS = {  # the header of int8-coded is long
    "int8-coded": {"header": 500, "weights": 700, "tensors": 100},
    "int4": {"header": 200, "weights": 500, "tensors": 100},
    "ticket": {"header": 100, "mask": 70, "theta": 30, "tensors": 10},
    "fp32": {"header": 100, "weights": 3900, "tensors": 100},
    "bf16": {"header": 100, "weights": 1900, "tensors": 100},
    "int8": {"header": 100, "weights": 900, "tensors": 100},
}
SECOND_DENSE = ("- {name: weights, lr: 0.1}", "- {name: weights, lr: [0.1, 0.2]}")


def stored(**accuracies: float) -> list[dict[str, Any]]:
    """Forms of a network, each with its accuracy, the same on validation and test images; ``int8_coded`` has a dash."""
    return [form_entry(form.replace("_", "-"), accuracy, accuracy) for form, accuracy in accuracies.items()]


def form_entry(form: str, val: float, test: float) -> dict[str, Any]:
    return {"form": form, "bytes": BYTES[form], "parts": PARTS[form], "metrics": {VAL: val, TOP1: test}}


def masked(accuracy: float = 0.9) -> list[dict[str, Any]]:
    return stored(ticket=accuracy, fp32=accuracy)


def networks(trial: Trial) -> dict[str, Any]:
    """What each trial keeps: dense ones are best stored as int8."""
    return {"stored": masked() if trial.method.name != "weights" else stored(fp32=0.9, bf16=0.9, int8=0.9)}


def cell(*kept: list[dict[str, Any]], **changes: Any) -> Cell:
    """A cell of as many seeds as there are lists; ``changes`` are of the last one's result."""
    found = Cell("digits", "conv2", "weights", "weights", 0.25)
    for seed, forms in enumerate(kept):
        trial = Trial.model_validate(
            {
                "dataset": "digits",
                "model": {"name": "conv2", "width_mult": 0.25},
                "method": {"name": "weights", "lr": 0.1},
                "seed": seed,
                "epochs": 1,
                "global_batch_size": 64,
            }
        )
        last = changes if seed == len(kept) - 1 else {}
        result = fake_result(trial, stored=forms, test_predictions=[0] * 360, **last)
        found.results[seed] = Summary.of(result, 0)
    return found


def form_of(*kept: list[dict[str, Any]]) -> str | None:
    size = smallest_form(cell(*kept), TOP1)
    return None if size is None else size.form


# Which form ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bf16", "int8", "form"),
    [
        (0.9, 0.9, "int8"),
        (0.9, 0.8995, "int8"),  # 0.05 points
        (0.9, 0.8985, "bf16"),  # 0.15 points
        (0.8985, 0.8985, "fp32"),
        (0.8985, 0.8995, "int8"),
        (0.91, 0.95, "int8"),  # better is no loss
        (0.9, 0.8979, "bf16"),  # one image of 360 is 0.28 points: not allowed to a single trial
    ],
)
def test_a_dense_network_is_stored_in_the_smallest_form_of_its_accuracy(bf16: float, int8: float, form: str) -> None:
    assert form_of(stored(fp32=0.9, bf16=bf16, int8=int8)) == form


def test_what_counts_is_the_mean_over_seeds() -> None:
    """Losses of 0.3 and 0.1 points are 0.2 on average; of 0.1 and -0.1, 0; with a third of -0.1, 0.1 of 0.3."""
    worse, bad, better = (stored(fp32=0.9, int8=int8) for int8 in (0.897, 0.899, 0.901))
    assert form_of(worse, bad) == "fp32"
    assert form_of(bad, better) == "int8"
    assert form_of(worse, better, better) == "int8"  # 0.3 - 0.1 - 0.1 is 0.1 in three
    assert form_of(worse, worse, better) == "fp32"  # 0.5 in three


def test_exactly_a_tenth_of_a_point_is_allowed_whatever_the_accuracy() -> None:
    for right in range(10, 10_001, 10):
        kept = stored(fp32=right / 10_000, int8=(right - 10) / 10_000)
        assert form_of(kept) == "int8", right


def test_the_form_is_chosen_by_validation_images_and_reported_on_test_images() -> None:
    lucky = [form_entry("fp32", 0.9, 0.9), form_entry("bf16", 0.9, 0.88), form_entry("int8", 0.88, 0.9)]
    size = smallest_form(cell(lucky), TOP1)
    assert size is not None and size.form == "bf16" and size.accuracy_loss == pytest.approx(0.02)
    size = smallest_form(cell(lucky), VAL)
    assert size is not None and size.form == "bf16" and size.accuracy_loss == 0


def test_coded_forms_count_as_any_other() -> None:
    """By bytes without headers: 800 of int8-coded are fewer than 1,000 of int8, though its file is larger."""
    assert form_of(stored(fp32=0.9, int8=0.9, int8_coded=0.9)) == "int8-coded"
    assert form_of(stored(fp32=0.9, int8=0.9, int8_coded=0.9, int4=0.9)) == "int4"
    assert form_of(stored(fp32=0.9, int8=0.9, int8_coded=0.9, int4=0.898)) == "int8-coded"
    old = stored(fp32=0.9, int8=0.9)  # of an earlier version
    assert form_of(old) == form_of(old, stored(fp32=0.9, int8=0.9, int8_coded=0.9, int4=0.9)) == "int8"


def test_a_form_whose_accuracy_is_not_told_does_not_count() -> None:
    untold = stored(fp32=0.9, int8=0.9)
    untold[1] = untold[1] | {"metrics": {VAL: None, TOP1: 0.9}}
    assert form_of(untold) == "fp32"
    unreported = [form | {"metrics": {VAL: 0.9}} for form in stored(fp32=0.9, int8=0.9)]
    assert form_of(unreported) == "fp32"
    assert form_of(stored(fp32=0.9, int8=0.9), untold) == "fp32"  # one seed of two
    assert form_of([form | {"metrics": {}} for form in stored(fp32=0.9, int8=0.9)]) == "fp32"


def test_a_ticket_is_exact_whatever_is_recorded() -> None:
    size = smallest_form(cell(masked(), stored(ticket=0.1, fp32=0.9)), TOP1)
    assert size == Size("ticket", 210, 4100, dict(PARTS["ticket"]), 0.0)


def test_sizes_are_means_over_seeds() -> None:
    one, other = masked(), masked()
    other[0] = other[0] | {"bytes": 230, "parts": PARTS["ticket"] | {"mask": 90}}
    size = smallest_form(cell(one, other), TOP1)
    assert size is not None
    assert (size.net, size.bytes, size.fp32, size.parts) == (
        120,
        220,
        4100,
        {"header": 100, "mask": 80, "theta": 30, "tensors": 10},
    )
    size = smallest_form(cell(stored(fp32=0.9, int8=0.899), stored(fp32=0.9, int8=0.9)), TOP1)
    assert size is not None and size.form == "int8" and size.accuracy_loss == pytest.approx(0.0005)


def test_a_trial_that_kept_nothing_and_one_that_diverged() -> None:
    assert smallest_form(cell(), TOP1) is None
    assert form_of([]) is None
    assert form_of(masked(), []) is None
    assert form_of(stored(fp32=0.9, int8=0.9), stored(fp32=0.9)) == "fp32"  # a form that only one has
    assert smallest_form(cell(masked(), [], status="diverged"), TOP1) is not None
    assert smallest_form(cell([], status="diverged"), TOP1) is None
    worse = stored(fp32=0.9, int8=0.1)
    size = smallest_form(cell(stored(fp32=0.9, int8=0.9), worse, status="diverged"), TOP1)
    assert size is not None and (size.form, size.accuracy_loss) == ("int8", 0)


# Tables -------------------------------------------------------------------------------------------------------------


def sizes_of(files: list[Path]) -> list[dict[str, Any]]:
    (path,) = [path for path in files if path.name == "sizes.csv"]
    table = pd.read_csv(path)
    return table.astype(object).where(table.notna(), None).to_dict("records")


def shown(text: str) -> list[list[str]]:
    """The rows of the table of sizes, its header first."""
    block = text.partition("### Bytes of the stored network\n\n")[2].partition("\n\n")[0]
    header, _, *rows = block.splitlines()
    return [[each.strip() for each in line.strip("|").split("|")] for line in (header, *rows)]


def test_the_table(sweep: Any, fill: Any) -> None:
    planned = sweep()
    text, files = tables.make(planned, fill(planned, networks))
    assert {"sizes.csv", "sizes.tex"} < {path.name for path in files}
    common = {"dataset": "digits", "model": "conv2", "fp32": 4100, "loss": 0, "n": 3, "seeds": "1 2 3"}
    dense = {"form": "int8", "stored": 1100, "header": 100, "payload": 900, "ratio": 1}
    ticket = {"form": "ticket", "stored": 210, "header": 100, "payload": 100}
    ticket["ratio"] = pytest.approx(1000 / 110)  # without headers
    assert sizes_of(files) == [
        {**common, "width": width, "method": method, "parameters": 1000 * width, **form}
        | {"bits_per_parameter": pytest.approx(8 * net / (1000 * width))}
        for width in (0.25, 0.5)
        for method, form, net in (("weights", dense, 1000), ("edge_popup", ticket, 110))
    ]
    header = [
        "width",
        "method",
        "parameters",
        "form",
        "change",
        "header",
        "bytes",
        "bits per parameter",
        "dense / this",
    ]
    assert shown(text) == [
        header,
        ["0.25", "weights", "250", "int8", "+0.00", "100", "1000", "32.00", "1.00"],
        ["0.25", "edge_popup", "250", "ticket", "+0.00", "100", "110", "3.52", "9.09"],
        ["0.5", "weights", "500", "int8", "+0.00", "100", "1000", "16.00", "1.00"],
        ["0.5", "edge_popup", "500", "ticket", "+0.00", "100", "110", "1.76", "9.09"],
    ]
    latex = next(path for path in files if path.name == "sizes.tex").read_text()
    assert r"0.25 & edge\_popup & 250 & ticket & +0.00 & 100 & 110 & 3.52 & 9.09 \\" in latex
    assert "- Form: the smallest whose accuracy on validation images is within 0.1 points of that in fp32" in text


def test_what_has_no_dense_network_has_no_ratio_and_a_loss_is_told(sweep: Any, fill: Any) -> None:
    planned = sweep()
    text, files = tables.make(planned, fill(planned, lambda t: {} if t.method.name == "weights" else networks(t)))
    assert [row["ratio"] for row in sizes_of(files)] == [None, None]
    assert [row[-1] for row in shown(text)[1:]] == ["", ""]
    lossy = {"stored": [form_entry("fp32", 0.9, 0.9), form_entry("int8", 0.9, 0.898)]}
    text, _ = tables.make(planned, fill(planned, lambda t: lossy if t.method.name == "weights" else {}))
    assert [row[4] for row in shown(text)[1:]] == ["-0.20", "-0.20"]


def test_what_is_stale_goes(sweep: Any, fill: Any) -> None:
    planned = sweep()
    _, files = tables.make(planned, ledger := fill(planned, networks))
    folder = files[0].parent
    assert {"sizes.csv", "sizes.tex"} < {path.name for path in folder.iterdir()}
    text, files = tables.make(planned, fill(planned, lambda trial: {}))
    assert "Bytes of the stored network" not in text and "Form:" not in text
    assert folder == ledger.root / "reports" / "two_methods"
    assert {path.name for path in folder.iterdir()} == {path.name for path in files}
    assert not list(folder.glob("sizes.*"))


def by_lr(trial: Trial) -> dict[str, Any]:
    """The dense network of lr 0.1 can be int8, that of 0.2 cannot."""
    if trial.method.name != "weights" or trial.method.lr == 0.1:
        return networks(trial)
    return {"stored": stored(fp32=0.9, bf16=0.9, int8=0.5)}


def test_several_dense_series(sweep: Any, fill: Any) -> None:
    planned = sweep(SECOND_DENSE)
    _, files = tables.make(planned, fill(planned, by_lr))
    rows = {(row["width"], row["method"]): row for row in sizes_of(files)}
    for width in (0.25, 0.5):
        assert rows[width, "weights lr=0.1"]["form"] == "int8"
        assert rows[width, "weights lr=0.2"]["form"] == "bf16"
        compared = rows[width, "edge_popup"]["ratio"]  # with one of them
        assert compared in (pytest.approx(1000 / 110), pytest.approx(2000 / 110))


def test_with_several_dense_series_their_order_is_no_matter(sweep: Any, fill: Any) -> None:
    found = []
    for order in ("[0.1, 0.2]", "[0.2, 0.1]"):
        planned = sweep((SECOND_DENSE[0], f"- {{name: weights, lr: {order}}}"))
        _, files = tables.make(planned, fill(planned, by_lr))
        found.append({(row["width"], row["method"]): row["ratio"] for row in sizes_of(files)})
    assert found[0] == found[1]


# Figures ------------------------------------------------------------------------------------------------------------


def test_the_figure_has_a_panel_of_bytes_only_where_networks_were_stored(
    sweep: Any, fill: Any, drawn: list[Figure]
) -> None:
    planned = sweep()
    figures.make(planned, fill(planned))
    figures.make(planned, fill(planned, lambda t: networks(t) if t.method.name != "weights" else {}))
    figures.make(planned, fill(planned, networks))
    shown = [figure for figure in drawn if figure.axes[0].get_xlabel() == "parameters of the network"]
    accuracy = [figure for figure in shown if len(figure.axes) > 1]  # the others are Pareto fronts
    assert [len(figure.axes) for figure in accuracy] == [2, 3, 3]
    panels = [figure.axes[2] for figure in accuracy[1:]]
    some, every = (
        {line.get_label(): line.get_xdata().tolist() for line in panel.get_lines() if line.get_label()[0] != "_"}
        for panel in panels
    )
    assert some == {"edge-popup": [110, 110]}
    assert every == {"edge-popup": [110, 110], "dense (SGD)": [1000, 1000]}
    assert panels[1].get_xlabel() == "bytes of the stored network" and panels[1].get_xscale() == "log"


def test_the_legend_names_all_that_is_drawn(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    figures.make(planned, fill(planned, lambda t: networks(t) if t.method.name != "weights" else {}))
    named = {text.get_text() for legend in drawn[0].legends for text in legend.get_texts()}
    assert named == {"dense (SGD)", "edge-popup"}
