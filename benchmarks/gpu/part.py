"""One part of the run sheet, in a process of its own: ``python -m benchmarks.gpu.part NAME ...``, for the runner."""

import argparse
import sys
from contextlib import ExitStack, closing
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.gpu import machine
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.sheet import Options, Sheet


def main() -> int:
    """Run the part; exit status 1 where something in it failed."""
    part, options = _parse()
    with closing(Sheet(options, options.out / part.rows_file)) as sheet:
        _run(part, sheet)
    return min(sheet.num_failed, 1)


def _run(part: Part, sheet: Sheet) -> None:
    options = sheet.options
    if options.device.type == "cuda" and not torch.cuda.is_available():
        sheet.failed(part.name, f"torch {torch.__version__} sees no CUDA GPU: --device cpu rehearses")
        return
    with ExitStack() as stack:
        if options.rehearsal:
            torch.set_num_threads(1)  # threads that wait for each other take most of the time of tiny steps
            sheet.measure("Triton's interpreter", lambda: stack.enter_context(machine.interpreted_kernels()))
        sheet.measure("machine", lambda: machine.describe(sheet))
        sheet.measure(part.name, lambda: import_module(f"benchmarks.gpu.{part.name}").run(sheet))


def _parse() -> tuple[Part, Options]:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu.part", description=__doc__)
    parser.add_argument("name", choices=[part.name for part in PARTS])
    parser.add_argument("--device", type=torch.device, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--digits", type=Path)
    parser.add_argument("--select")
    args = vars(parser.parse_args())
    name = args.pop("name")
    return next(part for part in PARTS if part.name == name), Options(**args)


if __name__ == "__main__":
    sys.exit(main())
