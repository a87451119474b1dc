"""Records of trials that come back in one file: ``python -m benchmarks.gpu.records FOLDER`` makes results of them.

Then the table and the gate of the default study follow, on a machine that has the suite's packages.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.files import CappedFile, rows_of

ROOT = Path(__file__).parents[2]
NAME = "5_records.jsonl"
_FILES = ("result.json", "metrics.jsonl")


class RecordFile:
    """The records of a run, a trial a line."""

    def __init__(self, out: Path) -> None:
        self._file = CappedFile(out / NAME)

    def keep(self, trial_id: str, folder: Path) -> bool:
        """Append the records of a trial; returns whether they fitted."""
        texts = {name: (folder / name).read_text(encoding="utf-8") for name in _FILES}
        return self._file.write(json.dumps({"trial_id": trial_id, "files": texts}).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def unpack(out: Path, results: Path) -> int:
    """Write the records of a run below ``results``, as a sweep leaves them; returns the number of trials."""
    found = [row for row in rows_of(out / NAME) if "files" in row]
    for row in found:
        folder = results / "trials" / row["trial_id"]
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (folder / name).write_text(row["files"][name], encoding="utf-8")
    return len(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Unpack, then print the table of the study, and what its gate says; exit status 1 where that fails."""
    from analysis import gate, tables

    parser = argparse.ArgumentParser("python -m benchmarks.gpu.records", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="that a run of the sheet left")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: FOLDER-study")
    args = parser.parse_args(argv)
    results = args.results or args.folder.with_name(f"{args.folder.name}-study")
    print(f"{unpack(args.folder, results)} trials: {results}")
    options = [str(ROOT / "sweeps" / "width_vs_acc.yaml"), "--results", str(results), "--set", "resources.gpus=1"]
    return tables.main(options) or gate.main(options)


if __name__ == "__main__":
    sys.exit(main())
