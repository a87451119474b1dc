"""YAML as sweep files use it: plain values only, numbers as in YAML 1.2, each key once, no aliases."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml
from yaml.composer import Composer

from suite.config.error_messages import short
from suite.config.errors import InputError

MAX_VALUES = 120_000  # keys and values of one text: a list of as many seeds as a sweep may have trials, and more
_BASE: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class _Strict(Composer):
    """Refuses what would silently mean something else, or expand without end, as soon as it is read."""

    def __init__(self, text: str, most_values: float) -> None:
        _BASE.__init__(self, text)
        Composer.__init__(self)
        self._num_values, self._most_values = 0, most_values

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._num_values += 1
        if self._num_values > self._most_values:
            raise _error(f"more than {MAX_VALUES:,} keys and values: a list in the grid says many trials in few", self)
        if self.check_event(yaml.AliasEvent):  # type: ignore[attr-defined]
            raise _error("aliases (*) are not read: base says what trials share", self)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(problem="a key must be a word", problem_mark=key.start_mark)
            if (key.tag, key.value) in seen:
                raise _Refused(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return node


class _Refused(yaml.MarkedYAMLError):
    """A text that is YAML and yet not read; its problem is in our words."""


def _error(problem: str, loader: Any) -> _Refused:
    return _Refused(problem=problem, problem_mark=loader.peek_event().start_mark)


_Loader: Any = type("_Loader", (_Strict, _BASE), {})
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_DROPPED = (_INT, _FLOAT, "tag:yaml.org,2002:timestamp")  # YAML 1.1 reads 010 as 8, 1:30 as 90 and 1e-4 as a text
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _DROPPED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER_STARTS = list("-+.0123456789")
_Loader.add_implicit_resolver(_INT, re.compile(r"^[-+]?\d+$"), _NUMBER_STARTS)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    _NUMBER_STARTS,
)


def _integer(loader: Any, node: yaml.ScalarNode) -> int:
    try:
        return int(node.value)
    except ValueError:  # of too many digits, too
        raise _Refused(problem=f"{short(node.value)}: no integer", problem_mark=node.start_mark) from None


_Loader.add_constructor(_INT, _integer)


@dataclass(frozen=True)
class Document:
    """The values of a YAML text, and where they stand."""

    value: Any
    root: yaml.Node | None = None

    @cached_property
    def lines(self) -> dict[str, int]:
        """The line of each value, from 1, by its place: ``grid[0].method.lr[1]``; of a key, where the key is."""
        found: dict[str, int] = {}
        rest = [("", self.root)] if self.root else []
        while rest:
            place, node = rest.pop()
            if isinstance(node, yaml.MappingNode):
                children = [(f"{place}.{key.value}".removeprefix("."), key, value) for key, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                children = [(f"{place}[{i}]", item, item) for i, item in enumerate(node.value)]
            else:
                children = []
            found |= {name: marked.start_mark.line + 1 for name, marked, _ in children}
            rest += [(name, value) for name, _, value in children]
        return found

    def located(self, problem: str, file: str) -> str:
        """``file:line: problem``, for a problem that begins with a place, or with two places: ``A and B: ...``."""
        place, _, rest = problem.partition(": ")
        first, both, second = place.rpartition(" and ")
        if both and first in self.lines and second in self.lines:
            return f"{file}:{self.lines[second]}: {first} (line {self.lines[first]}) and {second}: {rest}"
        line = self._line(place)
        return f"{file}:{line}: {problem}" if line else f"{file}: {problem}"

    def _line(self, place: str) -> int | None:
        """Of a place, or of what it is in: ``search: grid`` stands for ``search: {name: grid}``."""
        while place and place not in self.lines:
            place = re.sub(r"(\.[^.[]*|\[\d+\]|^[^.[]*)$", "", place)
        return self.lines.get(place)


def parse(text: str, place: str) -> Any:
    """The values of a YAML text: ``read`` without their lines."""
    return read(text, place).value


def read(text: str, place: str, *, is_file: bool = False, most_values: float = MAX_VALUES) -> Document:
    """The values of a YAML text, with their lines.

    Args:
        text: what is read.
        place: where it stands: a file, or a flag of the command line. Messages begin with it.
        is_file: messages name the line as well.

    Raises:
        InputError: it is not YAML, or holds more than ``MAX_VALUES`` values.
    """
    try:
        loader = _Loader(text, most_values)
        try:
            root = loader.get_single_node()
            return Document(None if root is None else loader.construct_document(root), root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if is_file and mark else ""
        raise InputError(f"{place}{where}: not YAML: {_in_words(error, text)}") from None
    except RecursionError:
        raise InputError(f"{place}: not YAML: blocks or lists are nested too deeply") from None
    except (KeyError, AttributeError):  # !!bool x, !!timestamp x
        raise InputError(f"{place}: not YAML: tags (!) are not read") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise InputError(f"{place}: not YAML: {' '.join(str(error).split())}") from None


_INDENTATION = "wrong indentation: the line does not line up with those that it belongs to"
_WORDS = {  # what libyaml and PyYAML say
    "mapping values": 'a colon too many, or wrong indentation: a text with ": " in it needs quotes',
    "expected ':'": "a key without a colon, or one without a value: null is one",
    "expected key": _INDENTATION,
    "'-' indicator": _INDENTATION,
    "<block end>": _INDENTATION,
    "entries are not allowed": "wrong indentation: an item of a list (-) cannot begin here",
    "mapping keys are not allowed": "wrong indentation: a key cannot begin here",
    "tab character": "a tab: indent with spaces",
    "end of stream": "a quote is not closed",
    "document separator": "a quote is not closed",
    "node content": "a value is missing, or there is a comma too many",
    "document": "another document begins here (---): a file has one",
    "constructor for the tag": "tags (!) are not read",
}


def _in_words(error: yaml.MarkedYAMLError, text: str) -> str:
    problem, mark = str(error.problem), error.problem_mark
    if isinstance(error, _Refused):
        return problem
    for bracket, sign in (("']'", "["), ("'}'", "{")):
        if bracket in problem and "expected ','" in problem:
            begun = f" of line {error.context_mark.line + 1}" if error.context_mark else ""
            return f"the {sign}{begun} is not closed: a comma or {bracket.strip(chr(39))} is missing before this"
    if "node content" in problem and mark and not text[mark.index :].strip():
        return "a [ or { is not closed"
    if "cannot start any token" in problem and mark:
        lines = text.splitlines()
        sign = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
        return "a tab: indent with spaces" if sign == "\t" else f"a text that begins with {sign} needs quotes"
    return next((ours for theirs, ours in _WORDS.items() if theirs in problem), problem)
