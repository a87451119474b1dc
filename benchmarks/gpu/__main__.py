"""Run the sheet: ``python -m benchmarks.gpu --parts smoke|all|1,2,... [--out FOLDER]``, or ``make gpu PARTS=...``.

Each part runs in a process of its own with a time limit of its own. Exit status: 0 every part ended well; 1 one failed
or was killed, and what it had measured is kept; 2 wrong arguments; 128 and more stopped by a signal.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.gpu import wheels
from benchmarks.gpu.parts import Choice, Part, choose
from benchmarks.gpu.runner import ROOT, Runner, oversized


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen parts."""
    start = time.monotonic()
    parser = _parser()
    args = parser.parse_args(argv)
    out = args.out or ROOT / "gpu" / f"results-{time.strftime('%Y%m%d-%H%M%S')}"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        parser.error(f"--out: {out}: must be a folder that is empty or is made")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as unpacked:
        print("\n".join(wheels.unpack(args.wheels, Path(unpacked))), flush=True)
        runner = Runner(args.parts, out.absolute(), _commands(args, out.absolute()), _environment(unpacked))
        status = runner.run((args.seconds or args.parts.seconds) - (time.monotonic() - start))
    problems = oversized(out)
    print("\n".join([*problems, f"results: {out}"]), flush=True)
    return status or int(bool(problems))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--parts", type=_choice, default="smoke", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for results; default: gpu/results-TIME")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal, of tiny sizes")
    parser.add_argument(
        "--wheels", type=Path, default=ROOT / "gpu" / "wheels", metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--digits", type=Path, default=ROOT / "gpu" / "digits.csv.gz", metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--select", metavar="EXPRESSION", help="tests of part 1, as pytest's -k")
    parser.add_argument("--seconds", type=float, help="for all parts; default: 175 for smoke, else 475")
    return parser


def _choice(text: str) -> Choice:
    try:
        return choose(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _commands(args: argparse.Namespace, out: Path) -> Callable[[Part, float], list[str]]:
    options = ["--device", args.device, "--out", str(out), *(["--smoke"] if args.parts.smoke else [])]
    options += ["--digits", str(args.digits.absolute())] if args.digits.exists() else []
    options += ["--select", args.select] if args.select else []

    def command(part: Part, seconds: float) -> list[str]:
        return [sys.executable, "-m", "benchmarks.gpu.part", part.name, "--seconds", f"{seconds:.1f}", *options]

    return command


def _environment(unpacked: str) -> dict[str, str]:
    """That of the parts: wheels come after the checkout, and before what is installed."""
    found = [str(ROOT), unpacked, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(found)}


if __name__ == "__main__":
    sys.exit(main())
