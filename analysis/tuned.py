"""The best settings of a search, as a sweep to run: ``python -m analysis.tuned FILE.yaml``.

Chosen by validation accuracy alone, and only among settings all of whose trials are done. The new sweep has other seeds
than the search, since a seed that tuned something is never reported.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from suite import cli
from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import write_text_atomic


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.sweep_parser(
        "analysis.tuned",
        "Write a sweep with the settings that a search found best by validation accuracy.",
        example="python -m analysis.tuned tuning_digits.yaml --seeds 1,2,3,4,5",
    )
    new = made.add_argument_group("new sweep")
    new.add_argument(
        "--seeds", default="1,2,3,4,5", metavar="N,N", help="seeds, none of the search; default: 1,2,3,4,5"
    )
    new.add_argument("--out", type=Path, metavar="FILE", help="default: tuned.yaml beside the tables")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Choose the settings of a search, print them, and write the sweep that reports them."""
    args = parser().parse_args(argv)
    sweep, ledger = cli.load(args)
    if sweep.search is None:
        raise InputError(f"{sweep.path}: has no search: settings are chosen where `search: grid` or `random` says so")
    out = args.out or cli.report_folder(sweep, ledger) / "tuned.yaml"
    if out.resolve() == sweep.path.resolve():
        raise InputError(f"--out: {out}: is the search itself")
    seeds = _seeds(args, sweep)
    from analysis.reports import tuned  # pandas: after the arguments

    found = tuned.groups(sweep, ledger)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(out, tuned.tuned_sweep(sweep, found, seeds))
    print(tuned.table(found))
    for group in found:
        told = [group.tried] if group.left_out else []
        for line in [*told, *(f"WARNING: {warning}" for warning in group.warnings)]:
            print(f"- {group.label}: {line}")
    print("written:", out)
    return 0


def _seeds(args: argparse.Namespace, sweep: Sweep) -> list[int]:
    """The seeds to report with: none of the search, whichever of its trials are looked at."""
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
    except ValueError:
        raise InputError(f"--seeds: {args.seeds}: must be whole numbers, as in --seeds 1,2,3") from None
    if len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise InputError(f"--seeds: {args.seeds}: must be different numbers from 0 to {2**32 - 1}")
    everything = load_sweep(args.file, overrides=args.set, contents=cli.contents(args)) if args.only else sweep
    used = sorted(set(seeds) & {trial.seed for trial in everything.trials.values()})
    if used:
        raise InputError(f"--seeds: {', '.join(map(str, used))}: tuned this search: such seeds are never reported")
    return seeds


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
