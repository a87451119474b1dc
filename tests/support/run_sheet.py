"""A run of the sheet whose parts are small programs: ``python run_sheet.py OUT SECONDS PROGRAM...``.

The runner ends all that is below its process, so it needs one of its own.
"""

import os
import sys
from pathlib import Path

from benchmarks.gpu.parts import Choice, Part
from benchmarks.gpu.runner import Runner

HEAD = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
out, file = Path(sys.argv[1]), Path(sys.argv[2])
def write(kind, what):
    with file.open("a") as opened:
        opened.write(json.dumps({"kind": kind, "what": what}) + "\\n")
"""


def main(out: str, seconds: str, *programs: str) -> int:
    parts = [Part(number, f"p{number}", 1, 1) for number in range(1, len(programs) + 1)]

    def command(part: Part, seconds: float) -> list[str]:
        return [sys.executable, "-c", HEAD + programs[part.number - 1], out, f"{out}/{part.rows_file}"]

    return Runner(Choice(parts, smoke=False), Path(out), command, os.environ).run(float(seconds))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
