"""The pages of docs/reference that are made from code: ``make docs-reference`` writes them, a test compares them."""

import inspect
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic_core import PydanticUndefined
from support.commands import NAMES, parser_of, subcommands
from support.terminal_captures import terminal_page

from suite import cli
from suite.__main__ import COMMANDS
from suite.config import DATASETS, METHODS, MODELS, DecoderSettings, Settings, SparsitySchedule, Trial
from suite.config.descriptions import descriptions
from suite.config.search import SearchSettings
from suite.config.sweep_settings import SweepFile
from suite.config.trial import CheckpointSettings, Resources, Schedule, SchedulerSettings
from suite.slurm.profile import DriverSettings, Environment, Profile

MADE = "<!-- Made by `make docs-reference`: change the code, then run it. -->"
WIDTH = 76  # columns of help texts: as many fit into a page
SECTIONS: dict[str, list[tuple[str, list[type[Settings]]]]] = {
    "Trial": [
        ("At the top of a trial", [Trial]),
        ("dataset", list(dict.fromkeys(DATASETS.values()))),
        ("dataset.decoder", [DecoderSettings]),
        ("model", list(dict.fromkeys(MODELS.values()))),
        ("method", list(dict.fromkeys(METHODS.values()))),
        ("method.sparsity_schedule", [SparsitySchedule]),
        ("schedule", [Schedule]),
        ("resources", [Resources]),
        ("checkpoint", [CheckpointSettings]),
    ],
    "Sweep file": [
        ("At the top of a sweep file", [SweepFile]),
        ("search", [SearchSettings]),
        ("scheduler", [SchedulerSettings]),
    ],
    "Cluster profile": [
        ("At the top of a profile", [Profile]),
        ("environment", [Environment]),
        ("driver", [DriverSettings]),
    ],
}
BLOCKS = {"dataset", "model", "method"}
LINKS = {cls: title for parts in SECTIONS.values() for title, classes in parts if len(classes) == 1 for cls in classes}


def described_classes() -> Iterator[type[Settings]]:
    for parts in SECTIONS.values():
        for _, classes in parts:
            yield from classes


def settings_page() -> str:
    parts = [
        "# Settings",
        MADE,
        "This page lists every setting of a trial, of a sweep file and of a cluster profile: its values, its default "
        "and what it does. A mistake in a file is reported with its place, the rule and the nearest valid name.",
        "A setting marked ° cannot change numbers. It is not part of a trial's id: a result counts whatever its value.",
    ]
    for heading, sections in SECTIONS.items():
        parts.append(f"## {heading}")
        for title, classes in sections:
            parts.append(f"### {title}" if " " in title else f"### `{title}`")
            for cls in classes:
                parts += _block(cls, several=len(classes) > 1)
    return "\n\n".join(parts) + "\n"


def _block(cls: type[Settings], several: bool) -> Iterator[str]:
    names = get_args(cls.model_fields["name"].annotation) if several else ()
    if several:
        yield "#### " + ", ".join(f"`{name}`" for name in names)
    yield " ".join(inspect.getdoc(cls).split()).replace("``", "`")  # type: ignore[union-attr]
    order = sorted(cls.model_fields, key=lambda key: key != "name")
    rows = [_row(cls, key) for key in order]
    yield "\n".join(["| setting | what it is | values | default |", "|:--|:--|:--|:--|", *rows])


def _row(cls: type[Settings], key: str) -> str:
    field, text = cls.model_fields[key], descriptions(cls)[key].replace("``", "`")
    extra = field.json_schema_extra
    mark = " °" if isinstance(extra, dict) and extra.get("identity") is False else ""
    default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
    return f"| `{key}`{mark} | {text} | {values_of(cls, key)} | {default} |"


def _default(value: Any) -> str:
    if isinstance(value, Settings):
        return "its defaults"
    assert value is not PydanticUndefined
    if value is None:
        return "unset"
    return "empty" if value in ("", {}, []) else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def values_of(cls: type[Settings], key: str) -> str:
    """The values that a setting can have, in words."""
    if issubclass(cls, Trial) and key in BLOCKS:
        return f"a [block](#{key})"
    kind = cls.model_fields[key].annotation
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, Settings):
            return f"a [block](#{LINKS[part].replace('.', '')})"
    schema = cls.model_json_schema()["properties"][key]
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    return " or ".join(map(_in_words, options))


def _in_words(schema: dict[str, Any]) -> str:
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "`true`, `false`",
        "array": "list of texts" if schema.get("items", {}).get("type") == "string" else "list of mappings",
        "object": "mapping",
    }[schema["type"]]
    bounds = {
        "minimum": "at least {:g}",
        "exclusiveMinimum": "above {:g}",
        "maximum": "at most {:g}",
        "exclusiveMaximum": "below {:g}",
    }
    rules = [text.format(schema[name]) for name, text in bounds.items() if name in schema]
    rules = ["at most 2^32 - 1" if rule == "below 4.29497e+09" else rule for rule in rules]
    return ", ".join([words, *rules])


def help_of(parser: cli.CommandParser) -> str:
    """The text of ``--help``, as it is on a terminal of ``WIDTH`` columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH + 2)
    try:
        return parser.format_help().rstrip()
    finally:
        os.environ.pop("COLUMNS")
        os.environ |= {"COLUMNS": before} if before is not None else {}


def commands_page() -> str:
    parts = [
        "# Commands",
        MADE,
        "This page lists every command with its help. `python -m suite` lists them on a terminal. "
        "[Exit statuses](exit_statuses.md) have a page of their own.",
    ]
    for heading, names in COMMANDS.items():
        parts.append(f"## {heading}")
        for name in names:
            parser = parser_of(name)
            parts += _command(parser, "###")
            for each in subcommands(parser).values():
                parts += _command(each, "####")
    return "\n\n".join(parts) + "\n"


def _command(parser: cli.CommandParser, level: str) -> Iterable[str]:
    yield f"{level} {parser.prog.removeprefix('python -m ')}"
    yield parser.summary
    yield f"```bash\n{parser.example}\n```"
    arguments = help_of(parser).replace(f"\n\n{parser.summary}", "", 1).partition("\n\nexample:")[0]
    yield f"```text\n{arguments}\n```"


def exit_statuses_page() -> str:
    rows = []
    for name in NAMES:
        for status, meaning in parser_of(name).statuses.items():
            if cli.STATUSES.get(status) != meaning:
                rows.append(f"| `{name}` | {status} | {meaning} |")
    common = [f"| {status} | {meaning} |" for status, meaning in cli.STATUSES.items()]
    return (
        "\n\n".join(
            [
                "# Exit statuses",
                MADE,
                "This page lists the exit status of every command, for scripts that call them.",
                "## Every command",
                "\n".join(["| status | meaning |", "|--:|:--|", *common]),
                "A mistake in the input ends with status 2 and one line for each mistake, never with a traceback.",
                "## Where a command says more",
                "\n".join(["| command | status | meaning |", "|:--|--:|:--|", *rows]),
            ]
        )
        + "\n"
    )


PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "exit_statuses.md": exit_statuses_page,
    "terminal.md": terminal_page,
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
        print(f"written: {folder / name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
