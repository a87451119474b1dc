"""Source of Python without what changes no number: comments, docstrings, blank lines."""

import ast
import codecs
import token
import tokenize
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise

_STRING_STARTS = {getattr(token, name, -1) for name in ("FSTRING_START", "TSTRING_START")}  # since Python 3.12, 3.14
_STRING_ENDS = {getattr(token, name, -1) for name in ("FSTRING_END", "TSTRING_END")}

_FIELDS = (ast.Assign, ast.AnnAssign)  # of a class: a text below one describes it

Place = tuple[int, int]  # a line, from 1, and a column in bytes, from 0


def essential(source: bytes) -> bytes:
    """``normalize_source``, or the source itself where it is not Python."""
    try:
        return normalize_source(source)
    except (SyntaxError, tokenize.TokenError):  # a module that somebody edits this moment, and that nothing imports
        return source


def normalize_source(source: bytes) -> bytes:
    """Python source (UTF-8) without comments, docstrings, blank lines and spaces at ends of lines.

    Equal under all versions of Python that read the source. Lines inside other strings stay as they are.

    Raises:
        SyntaxError, tokenize.TokenError: it is not Python.
    """
    source = source.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    lines = [b"", *source.split(b"\n")]  # so that lines[1] is the first one
    tokens = list(tokenize.tokenize(BytesIO(source).readline))
    docstrings = list(_docstrings(ast.parse(source)))
    inside = set(_lines_inside_strings(tokens))
    for start, end in docstrings:
        inside -= set(range(start[0], end[0]))
    for start, end in sorted([*_comments(tokens, lines), *docstrings], reverse=True):
        rest = lines[end[0]][end[1] :]
        lines[start[0] : end[0] + 1] = [lines[start[0]][: start[1]] + rest, *[b""] * (end[0] - start[0])]
    kept = [line if number in inside else line.rstrip() for number, line in enumerate(lines)]
    inside |= {number + 1 for number, line in enumerate(kept) if line.endswith(b"\\")}  # a blank line ends what goes on
    return b"\n".join(line for number, line in enumerate(kept) if line or number in inside)


def _docstrings(tree: ast.AST) -> Iterator[tuple[Place, Place]]:
    """Of modules, classes and functions, and of the fields of classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (_place(first) for first in node.body[:1] if _is_text(first))
        if isinstance(node, ast.ClassDef):
            fields = (text for field, text in pairwise(node.body) if isinstance(field, _FIELDS))
            yield from (_place(text) for text in fields if _is_text(text))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _place(node: ast.stmt) -> tuple[Place, Place]:
    return (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)


def _comments(tokens: list[tokenize.TokenInfo], lines: list[bytes]) -> Iterator[tuple[Place, Place]]:
    for each in tokens:
        if each.type == token.COMMENT:
            row, column = each.start  # in characters
            first = len(lines[row].decode()[:column].encode())
            yield (row, first), (row, first + len(each.string.encode()))


def _lines_inside_strings(tokens: list[tokenize.TokenInfo]) -> Iterator[int]:
    """Lines whose end is a character of a string."""
    begun: list[int] = []  # lines of the f-strings that are open
    for each in tokens:
        if each.type == token.STRING:
            yield from range(each.start[0], each.end[0])
        elif each.type in _STRING_STARTS:
            begun.append(each.start[0])
        elif each.type in _STRING_ENDS:
            yield from range(begun.pop(), each.end[0])
