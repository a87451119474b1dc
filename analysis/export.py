"""The records of sweeps in one file: ``python -m analysis.export FILE.yaml``.

It is kept beside what was written of them. JSON lines, compressed: of each final trial its result, whole, and its
epochs. ``python -m analysis.report --records`` makes the page from such a file alone. Networks are not in it; what they
take in bytes is.
"""

import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from suite import cli, records
from suite.config import InputError
from suite.records import Result, write_bytes_atomic, write_text_atomic
from suite.records.ledger import Ledger


class Kept(BaseModel):
    """A line: the two records of one trial."""

    result: Result
    metrics: list[dict[str, float | None]]


def pack(ledger: Ledger, trial_ids: Iterable[str]) -> bytes:
    """The file's content: equal records give equal bytes. Trials without a result are left out."""
    lines = []
    for trial_id in sorted(set(trial_ids)):
        folder = ledger.folder(trial_id)
        if (result := records.read_result(folder)) is not None:
            kept = Kept(result=result, metrics=records.read_metrics(folder))
            lines.append(json.dumps(kept.model_dump(mode="json"), separators=(",", ":")) + "\n")
    return gzip.compress("".join(lines).encode(), mtime=0)


def unpack(path: Path, root: Path) -> Ledger:
    """Put the records of a file into a results folder, as the trials had left them.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        kept = [Kept.model_validate_json(line) for line in text.splitlines()]
    except (OSError, EOFError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: is no file of records: {error}".splitlines()[0]) from None
    if not kept:
        raise InputError(f"{path}: is no file of records: it is empty")
    ledger = Ledger(root)
    for each in kept:
        folder = ledger.folder(each.result.trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / records.METRICS, "".join(json.dumps(line) + "\n" for line in each.metrics))
        write_text_atomic(folder / records.RESULT, each.result.model_dump_json())
    return ledger


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.sweep_parser(
        "analysis.export",
        "Write the records of sweeps into one compressed file.",
        example="python -m analysis.export width_vs_acc.yaml --out records.jsonl.gz",
        several=True,
    )
    made.add_argument_group("file").add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the file to write, as records.jsonl.gz"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Write the records of some sweeps into one file."""
    args = parser().parse_args(argv)
    sweeps = cli.load_several(args)
    cli.check_results(args.results, *args.files)
    ids = [trial_id for sweep in sweeps for trial_id in sweep.trials]
    content = pack(Ledger(args.results), ids)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(args.out, content)
    print("written:", args.out)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
