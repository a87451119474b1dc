"""One page of tables, figures and provenance, with how to repeat each: one HTML file, with links to trials alone."""

import base64
import os
import re
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import pandas as pd

from analysis.parts import ReportTable, parameter_efficiency
from analysis.parts.cells import cells, metric_of
from analysis.parts.style import METRICS
from analysis.reports import figures, findings, tables, trial_list
from suite.config import shipped
from suite.config.method_looks import readable
from suite.config.sweep_file import Sweep
from suite.records import Summary
from suite.records.ledger import Ledger

_PAGE = Template((files("analysis") / "report.html").read_text(encoding="utf-8"))
_BLOCKS = {"paper": 0, "tuned": 1, None: 2}
_CAPTIONS = {
    "figure": "Accuracy against parameters and bytes: means, 95 % intervals as bands, a dot for each seed.",
    "pareto": "Accuracy against cost. The line joins the networks that no other one beats in both, with their widths.",
    "differences": "Differences between methods at equal width, with 95 % intervals.",
    "ratios": "What one method needs over what another needs for equal accuracy, with 95 % bands.",
    "sparsity": "Accuracy against the share of weights removed.",
    "layers": "The share of each layer's weights that is removed, means over seeds; layers in the optimizer's order.",
    "learning": "Validation accuracy over the epochs, the mean over seeds.",
}
_READABLE = ("method", "minus", "difference")  # columns that name methods


def page(
    sweeps: Sequence[tuple[Sweep, Ledger]],
    targets: Sequence[str] = (),
    results: Path | None = None,
    place: Path | None = None,
) -> str:
    """The page of some sweeps, those with the paper's settings first; their figures are drawn anew.

    Args:
        targets: as of ``tables.make``; each must be one of some sweep.
        results: the folder that the commands on the page name, where it is not that of the ledgers.
        place: the folder of the page, from which it links to the files of trials; None: no links.

    Raises:
        InputError: garbled records, or none of them has such a target.
    """
    in_order = sorted(sweeps, key=lambda pair: _BLOCKS[pair[0].settings])
    own = _targets(in_order, targets)
    sections = [_section(*pair, aims, results or pair[1].root, place) for pair, aims in zip(in_order, own, strict=True)]
    names = ", ".join(sweep.label for sweep, _ in in_order)
    links = "".join(f'<li><a href="#{escape(s.label)}">{escape(s.label)}</a></li>' for s, _ in in_order)
    several = f"<ul>{links}</ul>" if len(sections) > 1 else ""
    return _PAGE.substitute(title=escape(names), links=several, sections="\n".join(sections))


def _targets(sweeps: Sequence[tuple[Sweep, Ledger]], targets: Sequence[str]) -> list[list[str]]:
    """Of each sweep the targets that it has; one at least must have each."""
    found = [(cells(*pair), metric_of(pair[0])) for pair in sweeps]
    own = [[text for text in targets if parameter_efficiency.has_target(*each, text)] for each in found]
    for text in targets:
        if not any(text in each for each in own):
            tables.build_tables(*sweeps[0], [text])  # says which there are
    return own


def _section(sweep: Sweep, ledger: Ledger, targets: Sequence[str], results: Path, place: Path | None) -> str:
    first, *others = found = tables.build_tables(sweep, ledger, targets)
    metric = metric_of(sweep)
    drawn = [path for path in figures.make(sweep, ledger) if path.suffix == ".svg"]
    return "\n".join(
        [
            f'<section id="{escape(sweep.label)}"><h2>{escape(first.title.replace(metric, METRICS[metric]))}</h2>',
            f"<p class='found'>{escape(findings.sentence(found, metric))}</p>",
            f"<p>{_text(sweep.description)}</p>",
            findings.grid(first.numbers),
            *map(_figure, drawn),
            f"<h3>Accuracy of each cell</h3>{_table(first)}",
            *(f"<h3>{escape(part.title)}</h3>{_table(part)}" for part in others),
            f"<h3>Trials</h3>{trial_list.html(sweep, ledger, metric, place)}",
            f"<h3>Where this came from</h3>{_provenance(sweep, ledger)}",
            f"<h3>How to repeat it</h3>{_repeat(sweep, results, targets)}",
            "</section>",
        ]
    )


def _table(part: ReportTable) -> str:
    """Table, notes, and its numbers as a file. Columns that say one thing in all rows become a note."""
    shown, constant = _folded(part.shown)
    for column in shown.columns.intersection(list(_READABLE)):
        shown[column] = shown[column].map(lambda text: " - ".join(map(readable, text.split(" - "))))
    html = shown.to_html(index=False, border=0, escape=True)
    said = [f"In all rows: {', '.join(f'{key} {value}' for key, value in constant.items())}."] if constant else []
    notes = "".join(f"<li>{_text(note)}</li>" for note in [*said, *part.notes])
    data = base64.b64encode(part.numbers.to_csv(index=False).encode()).decode()
    link = f'<a download="{part.stem}.csv" href="data:text/csv;base64,{data}">numbers as CSV</a>'
    return f'<div class="wide">{html}</div><ul class="notes">{notes}<li>{link}</li></ul>'


def _folded(shown: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table without the columns that have one value in several rows, and those values."""
    first: dict[str, object] = {} if shown.empty else {str(key): value for key, value in shown.iloc[0].items()}
    constant = {key: str(value) for key, value in first.items() if (shown[key] == value).all() and key not in _READABLE}
    constant = {} if len(shown) < 2 else constant
    return shown.drop(columns=list(constant)).copy(), {key: value for key, value in constant.items() if value}


def _text(text: str) -> str:
    """As HTML, what is between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _figure(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    caption = _CAPTIONS[path.stem.split("_")[0]]
    image = f'<img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
    return f'<figure><div class="wide">{image}</div><figcaption>{caption}</figcaption></figure>'


def _provenance(sweep: Sweep, ledger: Ledger) -> str:
    looked = ledger.lookup(sweep.trials)
    results = [each.summary for each in looked.values() if each.summary]
    states = Counter(each.state for each in looked.values())
    rows = {"trials": ", ".join(f"{num} {state}" for state, num in states.items())} | _origin(results)
    table = pd.DataFrame({"of": rows.keys(), "is": rows.values()})
    return table.to_html(index=False, header=False, border=0, escape=True)


def _origin(results: list[Summary]) -> dict[str, str]:
    if not results:
        return {}
    starts = [time.strftime("%Y-%m-%d %H:%M", time.gmtime(result.started_at)) for result in results]
    hosts = {host for result in results for host in (result.host, *(attempt.host for attempt in result.attempts))}
    versions = {f"{name} {version}" for result in results for name, version in result.versions.items()}
    return {
        "code": _list(result.code_id for result in results),
        "commit": _list(result.git_commit or "not known" for result in results),
        "data": _list(result.data_id for result in results),
        "packages": _list(versions),
        **(
            {"plugins": plugins} if (plugins := _list(str(use) for result in results for use in result.plugins)) else {}
        ),
        "machines": f"{len(hosts)}, {_list(device for result in results for device in result.devices)}",
        "begun (UTC)": f"{min(starts)} to {max(starts)}",
        "hours of all trials": f"{sum(result.seconds for result in results) / 3600:.2f}",
    }


def _list(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _paths(sweep: Sweep, root: Path) -> tuple[str, str]:
    """The file and the results, from the folder that holds both; the plan, where the file was a pipe or had options."""
    plan = root / "sweeps" / f"{sweep.label}.yaml"
    planned = not os.path.isfile(sweep.path) or (sweep.label != sweep.name and plan.is_file())
    file = plan if planned else sweep.path
    if (shipped_as := shipped.SWEEPS.spelling(file)) != str(file):
        return shipped_as, root.name
    above = os.path.commonpath([file.absolute().parent, root.absolute().parent])
    return os.path.relpath(file, above), os.path.relpath(root, above)


def _repeat(sweep: Sweep, root: Path, targets: Sequence[str]) -> str:
    """The commands, and the sweep file whole."""
    file, results = _paths(sweep, root)
    where = f"{shlex.quote(file)} --results {shlex.quote(results)}"
    aimed = "".join(f" --target {shlex.quote(target)}" for target in targets)
    commands = [
        f"python -m suite.sweep {where}",
        f"python -m analysis.tables {where}{aimed}",
        f"python -m analysis.figures {where}",
        f"python -m analysis.report {where}{aimed}",
    ]
    name = escape(sweep.path.name)
    shown = f"<details><summary>{name}</summary><pre>{escape(sweep.text)}</pre></details>"
    said = (
        f"In the folder that {_text(f'`{file}` and `{results}`')} are relative to. "
        "The first command runs what is missing; finished trials are never run again."
    )
    return f"<p>{said}</p><pre>{escape(chr(10).join(commands))}</pre>{shown}"
