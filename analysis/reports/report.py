"""One page of tables, figures and provenance, with how to repeat each: one HTML file that needs nothing else."""

import base64
import os
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
from analysis.reports import figures, tables
from suite.config import shipped
from suite.config.sweep_file import Sweep
from suite.records import Summary
from suite.records.ledger import Ledger

_PAGE = Template((files("analysis") / "report.html").read_text(encoding="utf-8"))
_BLOCKS = {"paper": 0, "tuned": 1, None: 2}
_ALT = {
    "figure": "accuracy against parameters and bytes",
    "pareto": "Pareto fronts of accuracy and cost",
    "ratios": "what methods need for equal accuracy, as ratios",
    "sparsity": "accuracy against sparsity",
    "learning": "validation accuracy over the epochs",
}


def page(sweeps: Sequence[tuple[Sweep, Ledger]], targets: Sequence[str] = (), results: Path | None = None) -> str:
    """The page of some sweeps, those with the paper's settings first; their figures are drawn anew.

    Args:
        targets: as of ``tables.make``; each must be one of some sweep.
        results: the folder that the commands on the page name, where it is not that of the ledgers.

    Raises:
        InputError: garbled records, or none of them has such a target.
    """
    in_order = sorted(sweeps, key=lambda pair: _BLOCKS[pair[0].settings])
    own = _targets(in_order, targets)
    sections = [_section(*pair, aims, results or pair[1].root) for pair, aims in zip(in_order, own, strict=True)]
    names = ", ".join(sweep.label for sweep, _ in in_order)
    links = "".join(f'<li><a href="#{escape(s.label)}">{escape(s.label)}</a></li>' for s, _ in in_order)
    return _PAGE.substitute(title=escape(names), links=links, sections="\n".join(sections))


def _targets(sweeps: Sequence[tuple[Sweep, Ledger]], targets: Sequence[str]) -> list[list[str]]:
    """Of each sweep the targets that it has; one at least must have each."""
    found = [(cells(*pair), metric_of(pair[0])) for pair in sweeps]
    own = [[text for text in targets if parameter_efficiency.has_target(*each, text)] for each in found]
    for text in targets:
        if not any(text in each for each in own):
            tables.build_tables(*sweeps[0], [text])  # says which there are
    return own


def _section(sweep: Sweep, ledger: Ledger, targets: Sequence[str], results: Path) -> str:
    first, *others = tables.build_tables(sweep, ledger, targets)
    drawn = [path for path in figures.make(sweep, ledger) if path.suffix == ".svg"]
    return "\n".join(
        [
            f'<section id="{escape(sweep.label)}"><h2>{escape(first.title)}</h2>',
            f"<p>{escape(sweep.description)}</p>",
            _table(first),
            *map(_figure, drawn),
            *(f"<h3>{escape(part.title)}</h3>{_table(part)}" for part in others),
            f"<h3>Where this came from</h3>{_provenance(sweep, ledger)}",
            f"<h3>How to repeat it</h3>{_repeat(sweep, results, targets)}",
            "</section>",
        ]
    )


def _table(part: ReportTable) -> str:
    """Table, notes, and its numbers as a file."""
    html = part.shown.to_html(index=False, border=0, escape=True)
    notes = "".join(f"<li>{escape(note)}</li>" for note in part.notes)
    data = base64.b64encode(part.numbers.to_csv(index=False).encode()).decode()
    link = f'<a download="{part.stem}.csv" href="data:text/csv;base64,{data}">numbers as CSV</a>'
    return f'<div class="wide">{html}</div><ul class="notes">{notes}<li>{link}</li></ul>'


def _figure(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    alt = _ALT[path.stem.split("_")[0]]
    return f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}"></figure>'


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
    """The file and the results, from the folder that holds both; the plan, where the file was a pipe."""
    file = sweep.path if os.path.isfile(sweep.path) else root / "sweeps" / f"{sweep.label}.yaml"
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
        f"python -m suite.sweep {where}    # runs what is missing; finished trials are never run again",
        f"python -m analysis.tables {where}{aimed}",
        f"python -m analysis.figures {where}",
        f"python -m analysis.report {where}{aimed}",
    ]
    name = escape(sweep.path.name)
    shown = f"<details><summary>{name}</summary><pre>{escape(sweep.text)}</pre></details>"
    return f"<pre>{escape(chr(10).join(commands))}</pre>{shown}"
