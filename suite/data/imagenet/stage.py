"""Copy tar shards to a node's own disk: ``python -m suite.data.imagenet.stage ROOT SCRATCH``, once per node."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from suite import cli
from suite.data.imagenet.staging import expanded, stage


def main(argv: Sequence[str] | None = None) -> int:
    """Copy shards, saying what is done."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(
        "python -m suite.data.imagenet.stage", description="Copy shards to a disk of this node."
    )
    parser.add_argument("root", type=Path, help="a folder that suite.data.imagenet.pack has filled")
    parser.add_argument("scratch", help="a folder on a local disk; the copy goes into one of its own below it")
    args = parser.parse_args(argv)
    root = args.root.absolute()
    print(stage(root, expanded(args.scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
