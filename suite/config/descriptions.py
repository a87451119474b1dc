"""What the strings below settings say of them, read from the source of their classes."""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from suite.config.settings import Settings


@cache
def descriptions(cls: type[Settings]) -> dict[str, str]:
    """The text below each setting of a class, those of its bases too. A plugin may have none."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Settings):
            found |= dict(_own_descriptions(base))
    return {key: text for key, text in found.items() if key in cls.model_fields}


def _own_descriptions(cls: type[Settings]) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    except OSError:  # a plugin without its source
        return
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    body = next((node.body for node in classes), [])
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield ast.unparse(field.target), " ".join(str(text.value.value).split())
