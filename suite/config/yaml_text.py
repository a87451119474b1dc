"""YAML as sweep files use it: plain values only, numbers as in YAML 1.2, each key once, no aliases."""

import re
from typing import Any

import yaml

from suite.config.error_messages import InputError


class _Loader(yaml.SafeLoader):
    """yaml.SafeLoader, stricter: it refuses what would silently mean something else, or expand without end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases (*) are not read: base says what trials share", problem_mark=mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                mark = node.value[i][0].start_mark
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=mark)
        return super().construct_mapping(node, deep)


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
_Loader.add_constructor(_INT, lambda loader, node: int(node.value))


def parse(text: str, place: str) -> Any:
    """The values of a YAML text.

    Raises:
        InputError: it is not YAML; the message begins with ``place``.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader: it builds plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(f"{place}: {where}not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{place}: not YAML: {' '.join(str(error).split())}") from None
