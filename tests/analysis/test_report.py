"""The page of sweeps: one file that needs nothing else, from records alone."""

import base64
import json
import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from support.fake_results import write_result
from support.stores import write_empty_store
from support.sweep_processes import ROOT

from analysis import export
from analysis import report as report_command
from analysis.parts import ReportTable
from analysis.reports import findings, report
from suite import records
from suite.cli import run
from suite.config.sweep_file import load_sweep
from suite.records import kept_plans, source_code
from suite.records.ledger import Ledger

OTHER = """\
name: other
description: With <b>tags</b> & more.
settings: paper
base: {dataset: digits, epochs: 1, global_batch_size: 64}
grid: {model: {name: conv2, width_mult: [0.5]}, seed: [1], method: {name: weights, lr: 0.2}}
"""


class Reader(HTMLParser):
    """Tags, what they point to, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def write(ledger: Ledger, planned: Any) -> None:
    """Results with epochs, so that there are learning curves."""
    for trial_id, trial in planned.trials.items():
        write_result(ledger, trial)
        lines = [{"epoch": epoch, "step": epoch, "timestamp": 1.0, "val/top1": 0.4 + epoch / 10} for epoch in range(3)]
        (ledger.folder(trial_id) / records.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))


def two_sweeps(planned: Any, folder: Path) -> tuple[Any, Any, Ledger]:
    """A sweep, another one with the paper's settings, and the results of both."""
    (folder / "other.yaml").write_text(OTHER)
    other, ledger = load_sweep(folder / "other.yaml"), Ledger(folder / "results")
    for each in (planned, other):
        write(ledger, each)
    return planned, other, ledger


def test_a_page_that_needs_nothing_else(sweep: Any, tmp_path: Path) -> None:
    planned, ledger = sweep(), Ledger(tmp_path / "results")
    write(ledger, planned)
    text = report.page([(planned, ledger)])
    page = Reader(text)
    assert page.open == []
    links = [attrs[key] or "" for _, attrs in page.tags for key in ("src", "href") if key in attrs]
    assert all(link.startswith(("data:", "#")) for link in links)
    images = [link for link in links if link.startswith("data:image/svg+xml;base64,")]
    assert len(images) == 4  # accuracy, Pareto fronts, differences, learning
    assert all(base64.b64decode(image.partition(",")[2]).startswith(b"<?xml") for image in images)
    assert all(attrs["alt"] for tag, attrs in page.tags if tag == "img")
    assert "79.52 to 84.48" in page.text
    assert "code: " not in page.text and "commit" in page.text and "not known" in page.text
    assert "12 done" in page.text
    assert f"python -m suite.sweep {planned.path.name} --results results" in page.text
    assert planned.path.read_text().strip() in page.text  # the sweep file whole
    assert str(tmp_path) not in text


def test_the_numbers_can_be_saved(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    page = Reader(report.page([(planned, fill(planned))]))
    files = {attrs["download"]: attrs["href"] or "" for tag, attrs in page.tags if tag == "a" and "download" in attrs}
    assert {"table.csv", "differences.csv", "compute.csv"} <= files.keys()
    content = base64.b64decode(files["table.csv"].partition(",")[2]).decode()
    assert content.startswith("dataset,model,width,method,n,planned,seeds,mean,low,high")
    assert len(content.splitlines()) == 1 + 4


def test_the_papers_settings_come_first_and_words_are_no_tags(sweep: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    planned, other, ledger = two_sweeps(sweep(), tmp_path)
    text = report.page([(planned, ledger), (other, ledger)])
    assert "With &lt;b&gt;tags&lt;/b&gt; &amp; more." in text
    assert re.findall(r'<section id="(\w+)">', text) == ["other", "two_methods"]
    assert "(the paper's settings)" in Reader(text).text


def test_nothing_was_run(sweep: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    page = Reader(report.page([(sweep(), Ledger(tmp_path / "results"))]))
    assert "12 missing" in page.text


@pytest.mark.slow
def test_the_target_where_a_sweep_has_it(sweep: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    planned, other, ledger = two_sweeps(sweep(), tmp_path)
    text = report.page([(planned, ledger), (other, ledger)], ["edge_popup:0.25"])
    assert text.count("Needed for the accuracy of edge_popup at width 0.25") == 1
    flags = [str(planned.path), str(other.path), "--results", str(ledger.root), "--no-mlflow", "--target", "iterand:1"]
    assert run(lambda: report_command.main(flags)) == 2


@pytest.mark.slow
def test_from_kept_records_alone(sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned, ledger = sweep(), Ledger(tmp_path / "results")
    write(ledger, planned)
    (tmp_path / "kept.gz").write_bytes(export.pack(ledger, planned.trials))
    pages = []
    for flags in (["--results", str(ledger.root), "--no-mlflow"], ["--records", str(tmp_path / "kept.gz")]):
        assert report_command.main([str(planned.path), *flags, "--out", str(tmp_path / "page.html")]) == 0
        pages.append((tmp_path / "page.html").read_text())
    assert "../trials" not in pages[1] and re.sub(r'<a href="[^"#]*trials/[^>]*>\w+</a> ?', "", pages[0]) == pages[1]
    assert run(lambda: report_command.main([str(planned.path), "--records", str(tmp_path / "kept.gz")])) == 2
    assert "--records: needs --out" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
def test_logged_to_mlflow(sweep: Any, tmp_path: Path, drawn: list[Figure], capsys: pytest.CaptureFixture[str]) -> None:
    import mlflow

    from suite.tracking.store import DATABASE, store_uri

    planned, ledger = sweep(), Ledger(tmp_path / "results")
    write(ledger, planned)
    write_empty_store(ledger.root / DATABASE)
    assert run(lambda: report_command.main([str(planned.path), "--results", str(ledger.root)])) == 0
    client = mlflow.MlflowClient(store_uri(ledger.root))
    experiment = client.get_experiment_by_name("two_methods")
    (found,) = client.search_runs([experiment.experiment_id], "tags.report = 'two_methods'")
    assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["report.html"]
    assert "logged to MLflow" in capsys.readouterr().out


@pytest.mark.slow
def test_tables_and_pages_from_an_archive(sweep: Any, tmp_path: Path) -> None:
    """A driver that is a job runs from a frozen copy of the code: a zip file."""
    planned, ledger = sweep(), Ledger(tmp_path / "results")
    write(ledger, planned)
    environment = {**os.environ, "PYTHONPATH": str(source_code.freeze(tmp_path / "code"))}
    for module, flags in (("analysis.tables", []), ("analysis.figures", []), ("analysis.report", ["--no-mlflow"])):
        command = [sys.executable, "-P", "-m", module, str(planned.path), "--results", str(ledger.root), *flags]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "written: " in done.stdout
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import analysis; print(analysis.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ".zip/" in where.stdout


def test_the_first_sentence_says_what_the_tables_say(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()

    def change(trial: Any) -> dict[str, Any] | None:
        if trial.model.width_mult == 0.25 and trial.seed == 3:
            return None
        better = 0.3 if trial.method.name == "edge_popup" and trial.model.width_mult == 0.5 else 0.0
        noise = 0.01 * ((trial.seed * 7 + len(trial.method.name)) % 3)
        return {"metrics": {"test/top1": 0.5 + better + noise}}

    page = Reader(report.page([(planned, fill(planned, change))])).text
    assert (
        "Best test accuracy: edge-popup, conv2 of width 0.5 on digits, 81.00 % (95 % interval 78.52 to 83.48)." in page
    )
    assert "1 of 2 differences between methods at equal width is significant: edge-popup above dense (SGD) at" in page
    assert "2 of 12 trials have no accuracy." in page


def test_the_first_sentence_counts_failures_once_and_keeps_data_sets_apart() -> None:
    cell = {"model": "conv2", "width": 0.5, "planned": 3, "low": None, "high": None}
    rows = [("iterand", "digits", 2, 0.9), ("iterand, failures at chance", "digits", 3, 0.95)]
    rows += [("iterand", "mnist", 3, 0.7), ("edge_popup", "digits", 3, 0.8), ("edge_popup", "mnist", 3, 0.8)]
    accuracy = [cell | {"method": m, "dataset": d, "n": n, "mean": mean} for m, d, n, mean in rows]
    pair = {"method": "iterand", "minus": "edge_popup", "model": "conv2", "width": 0.5, "p_holm": 0.001}
    differences = [pair | {"dataset": "digits", "mean": 0.1}, pair | {"dataset": "mnist", "mean": -0.1}]
    parts = {"table": pd.DataFrame(accuracy), "differences": pd.DataFrame(differences)}
    said = findings.sentence([ReportTable(stem, "", rows, rows) for stem, rows in parts.items()], "test/top1")
    assert said.endswith("1 of 12 trials have no accuracy.") and "chance" not in said
    assert "IteRand above edge-popup (conv2, digits) at width 0.5" in said
    assert "edge-popup above IteRand (conv2, mnist) at width 0.5" in said


def test_nothing_done_is_said_and_nothing_is_best(sweep: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    text = report.page([(sweep(), Ledger(tmp_path / "results"))])
    assert "No trial is done yet" in text and "Best" not in text and "<td><b>" not in text


def test_a_grid_of_widths_and_methods_has_the_best_in_bold(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    top1 = {("weights", 0.25): 0.7, ("weights", 0.5): 0.8, ("edge_popup", 0.25): 0.6, ("edge_popup", 0.5): 0.9}
    ledger = fill(planned, lambda t: {"metrics": {"test/top1": top1[t.method.name, t.model.width_mult]}})
    text = report.page([(planned, ledger)])
    assert "<tr><td>dense (SGD)</td><td><b>70.00</b></td><td>80.00</td></tr>" in text
    assert "<tr><td>edge-popup</td><td>60.00</td><td><b>90.00</b></td></tr>" in text


def test_a_column_that_says_one_thing_becomes_a_note(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep()
    page = Reader(report.page([(planned, fill(planned))])).text
    assert "In all rows: n 3 of 3, mean 82.00" in page and page.count("3 of 3") == 1 + 2  # and of each difference


def test_markdown_becomes_html(sweep: Any, fill: Any, drawn: list[Figure]) -> None:
    planned = sweep(("name: two_methods", "name: two_methods\ndescription: Of `lr` & more."))
    assert "Of <code>lr</code> &amp; more." in report.page([(planned, fill(planned))])


def test_trials_are_listed_with_links_to_what_they_left(sweep: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    planned, ledger = sweep(), Ledger(tmp_path / "results")
    write(ledger, planned)
    trial_id = next(iter(planned.trials))
    (ledger.folder(trial_id) / records.LOG).write_text("said\n")
    assert report_command.main([str(planned.path), "--results", str(ledger.root), "--no-mlflow"]) == 0
    place = ledger.root / "reports" / "two_methods"
    page = Reader((place / "report.html").read_text())
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a" and "trials" in (attrs.get("href") or "")]
    assert f"../../trials/{trial_id}/log.txt" in links and len(links) == 12 + 1
    assert all((place / link).is_file() for link in links)
    assert all(trial_id in page.text for trial_id in planned.trials)


@pytest.mark.slow
def test_how_to_repeat_it_works_when_pasted(sweep: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    """In the folder it names, by a shell; of a part of a sweep too, whose options are in its plan."""
    sweep()
    planned = load_sweep(tmp_path / "sweep.yaml", only=["seed=1", "method=weights"])
    ledger = Ledger(tmp_path / "results")
    write(ledger, planned)
    kept_plans.keep(planned, ledger.root)
    (shown,) = re.findall(r"<pre>(python -m .*?)</pre>", report.page([(planned, ledger)]), re.DOTALL)
    commands = unescape(shown).splitlines()
    assert len(commands) == 4 and f"results/sweeps/{planned.label}.yaml" in commands[0]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/sh", "-e"],
        input="\n".join(commands),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in (ledger.root / "reports").iterdir()] == [planned.label]
