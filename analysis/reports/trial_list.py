"""The list of a sweep's trials in a report, with links to what each left."""

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from analysis.parts import format_percent
from suite import records
from suite.config.method_looks import readable
from suite.config.sweep_file import Sweep
from suite.records.ledger import Ledger

_FILES = {
    "log": (records.LOG,),
    "curve": (records.METRICS,),
    "network": (records.TICKET, records.DENSE),
}


def html(sweep: Sweep, ledger: Ledger, metric: str, place: Path | None) -> str:
    """A row a trial, folded away.

    Args:
        place: the folder of the page, which links are relative to; None leaves them out, as with kept records.
    """
    looked = ledger.lookup(sweep.trials)
    rows = []
    for trial_id, trial in sweep.trials.items():
        result = looked[trial_id].summary
        cells = [
            trial_id,
            readable(trial.method.name),
            f"{trial.model.name} x{trial.model.width_mult:g}",
            str(trial.seed),
            looked[trial_id].state,
            format_percent(result.metrics.get(metric)) if result else "",
        ]
        links = "" if place is None else _links(ledger.folder(trial_id), place)
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{links}</td></tr>")
    head = "".join(
        f"<th>{name}</th>" for name in ("trial", "method", "network", "seed", "state", "accuracy, %", "files")
    )
    table = f"<table class='trials'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<details><summary>{len(rows)} trials</summary><div class='wide'>{table}</div></details>"


def _links(folder: Path, place: Path) -> str:
    found = {name: next((file for file in files if (folder / file).exists()), None) for name, files in _FILES.items()}
    above = os.path.relpath(folder.absolute(), place.absolute())
    return " ".join(f'<a href="{quote(f"{above}/{file}")}">{name}</a>' for name, file in found.items() if file)
