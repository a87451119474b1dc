"""Copy tar shards to a node's own disk: ``python -m suite.data.imagenet.stage ROOT SCRATCH``, once per node."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from suite import cli
from suite.data.imagenet.staging import expanded, stage


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite.data.imagenet.stage",
        "Copy tar shards to a disk of this node, once for all processes of the node.",
        usage="ROOT SCRATCH",
        example="python -m suite.data.imagenet.stage /data/imagenet-shards /scratch",
    )
    made.add_argument("root", type=Path, metavar="ROOT", help="a folder that suite.data.imagenet.pack has filled")
    made.add_argument("scratch", metavar="SCRATCH", help="a folder on a local disk; the copy is a folder below it")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Copy shards, saying what is done."""
    args = parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    root = args.root.absolute()
    print(stage(root, expanded(args.scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
