"""Look into stored networks, and check them: ``python -m suite.tickets info|verify|eval|export``.

A network is named by its file, by the folder of its trial, or by a folder of results: all in it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from suite import cli, startup

TOLERANCE = 0.001  # of an accuracy: another device or torch rounds otherwise
_FORMS = ("ticket", "fp32", "bf16", "int8", "int8-coded", "int4", "sparse-fp32", "sparse-bf16", "sparse-int8", "pt")
_STATUSES = {
    1: "a network is not what its record says, or a file cannot be read or written",
}
_EXAMPLES = {
    "info": "python -m suite.tickets info results",
    "verify": "python -m suite.tickets verify results --data-dir data",
    "eval": "python -m suite.tickets eval results/trials/0a1b2c3d4e5f --split val",
    "export": "python -m suite.tickets export results/trials/0a1b2c3d4e5f --form int8 --to net.safetensors",
}


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite.tickets",
        "Look into stored networks, evaluate them again, and export them.",
        usage="COMMAND ...",
        example=_EXAMPLES["info"],
        statuses=_STATUSES,
    )
    commands = made.add_subparsers(
        title="commands",
        metavar="COMMAND",
        dest="command",
        required=True,
        prog=made.prog,
        help="each has a --help of its own",
    )

    def add(name: str, summary: str, usage: str) -> cli.CommandParser:
        found: cli.CommandParser = commands.add_parser(
            name, summary=summary, help=summary, usage=usage, example=_EXAMPLES[name], statuses=_STATUSES
        )
        return found

    info = add(
        "info", "Show what the files of networks say, and where their bytes go.", "NETWORK [NETWORK ...] [--json]"
    )
    _add_networks(info)
    info.add_argument_group("output").add_argument(
        "--json", action="store_true", help="print a line of JSON for each network"
    )
    verify = add(
        "verify", "Evaluate networks again and compare them with their records.", "NETWORK [NETWORK ...] [options]"
    )
    _add_networks(verify)
    _add_evaluation(verify).add_argument(
        "--tolerance", type=float, default=TOLERANCE, metavar="X", help="of an accuracy; default: %(default)s"
    )
    evaluation = add("eval", "Print the accuracy and loss of a network on a split.", "NETWORK [options]")
    evaluation.add_argument("network", type=Path, metavar="NETWORK", help="a file, or the folder of a trial")
    images = _add_evaluation(evaluation)
    images.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    images.add_argument("--dataset", metavar="NAME", help="another data set than it was trained on")
    export = add("export", "Write a network in another form.", "NETWORK --to FILE [options]")
    export.add_argument("network", type=Path, metavar="NETWORK", help="a file, or the folder of a trial")
    file = export.add_argument_group("file")
    file.add_argument("--to", type=Path, required=True, metavar="FILE", help="the file to write")
    file.add_argument("--form", choices=_FORMS, default="fp32", help="pt: torch.save of the state_dict; default: fp32")
    _add_evaluation(export)
    for each in (info, verify, evaluation, export):
        each.add_plugins()
    return made


def _add_networks(made: cli.CommandParser) -> None:
    made.add_argument(
        "networks", type=Path, nargs="+", metavar="NETWORK", help="a file, the folder of a trial, or of results"
    )


def _add_evaluation(made: cli.CommandParser) -> "argparse._ArgumentGroup":
    group = made.add_argument_group("evaluation")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help=cli.DATA_DIR)
    group.add_argument("--device", metavar="NAME", help="as cuda:1; default: cuda if there is a GPU, else cpu")
    return group


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands."""
    args = parser().parse_args(argv)
    with startup.without_garbage_collection():
        from suite.tickets import commands  # torch: after the arguments

    return commands.run(args)


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
