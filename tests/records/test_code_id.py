"""The identity of the code: what code means counts, and what only people read does not."""

import ast
import re
import shutil
import subprocess
import sys
import token
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest

from suite.config import essential_source
from suite.config.essential_source import normalize_source
from suite.records import code_id
from suite.records.code_id import code_id_of, hashed_files

ROOT = Path(__file__).parents[2]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SOURCE = '''#!/usr/bin/env python
"""A docstring: ä, with "quotes".

# no comment
"""


import math  # of Python   


class A:
    """One line."""

    async def f(self, x: str = "#no comment") -> str:  # ü
        r"""Raw,

        and long."""
        y = (  # a comment in brackets

            "ä # no"  # yes
            f"{x!r:>{3}} # no {'#'}"
        )
        return f"""
        # neither here   {x}

        """ + \\
            y + """   

  # a text"""


def g() -> None:
    """Nothing else."""


def h() -> int:
    'docstring'; return 1  # after it


async def i():
    x = """no docstring

    """
    """no docstring either"""
    y = f"{f'{x}#'} # {x:{len('#')}}" f"""{
        x
    } # no

    {{"""

    return x


class B:
    (
        "a docstring"

        "in parts"  # too
    )

    z: int = 1
    """What it is,

    and why."""
    a = 2; "and this"  # too

    def f(self): ...
    "no docstring"


x = i \\

(1)
'''  # noqa: W291
ESSENCE = '''import math
class A:
    async def f(self, x: str = "#no comment") -> str:
        y = (
            "ä # no"
            f"{x!r:>{3}} # no {'#'}"
        )
        return f"""
        # neither here   {x}

        """ + \\
            y + """   

  # a text"""
def g() -> None:
def h() -> int:
    ; return 1
async def i():
    x = """no docstring

    """
    """no docstring either"""
    y = f"{f'{x}#'} # {x:{len('#')}}" f"""{
        x
    } # no

    {{"""
    return x
class B:
    z: int = 1
    a = 2;
    def f(self): ...
    "no docstring"
x = i \\

(1)'''  # noqa: W291


def test_comments_docstrings_and_blank_lines_are_left_out() -> None:
    """Written out by hand: so each version of Python that runs this test must agree with it."""
    assert normalize_source(SOURCE.encode()).decode() == ESSENCE


def test_line_ends_and_marks_of_another_system_change_nothing() -> None:
    assert normalize_source(SOURCE.replace("\n", "\r\n").encode()) == normalize_source(SOURCE.encode())
    assert normalize_source(b"\xef\xbb\xbf" + SOURCE.encode()) == normalize_source(SOURCE.encode())


def words(source: bytes, docstrings: set[tuple[int, int]]) -> list[str]:
    """A slow reference: names, operators, numbers and strings in their order, docstrings left out by their places."""
    unread = (token.COMMENT, token.NL, token.NEWLINE, token.INDENT, token.DEDENT, token.ENCODING, token.ENDMARKER)
    found = tokenize.tokenize(BytesIO(source).readline)
    return [each.string for each in found if each.type not in unread and each.start not in docstrings]


def descriptions(tree: ast.AST) -> Iterator[ast.stmt]:
    """The texts below the fields of classes."""
    for node in ast.walk(tree):
        for i, text in enumerate(node.body if isinstance(node, ast.ClassDef) else ()):
            of_field = i > 0 and isinstance(node.body[i - 1], ast.Assign | ast.AnnAssign)
            if of_field and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                yield text


@pytest.mark.parametrize("file", hashed_files(ROOT / "suite"), ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_left_of_each_module_are_its_words(file: Path) -> None:
    source = file.read_bytes()
    documented = [node for node in ast.walk(ast.parse(source)) if isinstance(node, DOCUMENTED)]
    docstrings = {
        (node.body[0].lineno, node.body[0].col_offset) for node in documented if ast.get_docstring(node) is not None
    }
    described = [(text.lineno, text.col_offset) for text in descriptions(ast.parse(source))]
    docstrings.update(described)
    left = normalize_source(source)
    assert words(left, set()) == words(source, docstrings)
    assert all(line.strip() for line in left.splitlines()) and len(left) < len(source)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A copy of the package, which may be edited."""
    return shutil.copytree(ROOT / "suite", tmp_path / "suite", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(autouse=True)
def _parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only modules that a test has changed are parsed again."""
    monkeypatch.setattr(essential_source, "normalize_source", _normalized)


_normalized = cache(normalize_source)
Edit = Callable[[str], str]


def _after_docstring(text: str, more: str) -> str:
    """``text`` with a line behind its first statement, which is its docstring."""
    lines = text.split("\n")
    end = ast.parse(text).body[0].end_lineno
    return "\n".join([*lines[:end], more, *lines[end:]])


COUNTS: dict[str, tuple[str, Edit]] = {
    "a number": ("methods/iterand.py", lambda text: text.replace("= 300", "= 301")),
    "a number of a setting": ("config/method_settings.py", lambda text: text.replace("= 300", "= 301")),
    "a statement": ("train/loop.py", lambda text: _after_docstring(text, "x = 1")),
    "a text": ("models/resnet.py", lambda text: _after_docstring(text, 'x = """a\n\nb"""')),
    "a space inside a text": ("models/resnet.py", lambda text: _after_docstring(text, 'x = """a \n\nb"""')),
    "a blank line inside a text": ("models/resnet.py", lambda text: _after_docstring(text, 'x = """a\n\n\nb"""')),
    "indentation": ("data/arrays.py", lambda text: _after_docstring(text, "if 0:\n    x = 1\n    y = 1")),
    "less of it": ("data/arrays.py", lambda text: _after_docstring(text, "if 0:\n    x = 1\ny = 1")),
}
COUNTS_NOT: dict[str, tuple[str, Edit]] = {
    "a comment": ("methods/iterand.py", lambda text: _after_docstring(text, "# a comment")),
    "a comment behind code": ("methods/iterand.py", lambda text: text.replace("import Redraw", "import Redraw  # x")),
    "the docstring of a module": ("train/loop.py", lambda text: text.replace('"""', '"""X.\n\n', 1)),
    "the docstring of a class": ("methods/iterand.py", lambda text: text.replace('    """', '    """X.\n\n    ', 1)),
    "docstrings of settings": ("config/trial.py", lambda text: re.sub(r'(class .*:\n    """)', r"\1X. ", text)),
    "the description of a setting": (
        "config/trial.py",
        lambda text: text.replace('"""CPU threads', '"""The CPU threads'),
    ),
    "blank lines": ("models/conv.py", lambda text: _after_docstring(text, "\n\n  \n")),
    "spaces at ends of lines": ("models/conv.py", lambda text: text.replace("\n\n", "  \n\n")),
    "the text of an error": ("config/error_messages.py", lambda text: text.replace("is missing", "is not there")),
    "a command": ("data/imagenet/scan.py", lambda text: text + "\nx = 1\n"),
    "how checkpoints are read": ("train/checkpoint.py", lambda text: text + "\nx = 1\n"),
    "how trials are launched": ("launch/local.py", lambda text: text + "\nx = 1\n"),
    "calibration": ("train/calibrate.py", lambda text: text + "\nx = 1\n"),
}


def edited(suite: Path, name: str, edit: Edit) -> str:
    """The identity after an edit that did change the file."""
    before = (suite / name).read_text()
    after = edit(before)
    assert after != before
    (suite / name).write_text(after)
    compile(after, name, "exec")
    return code_id_of(suite)


@pytest.fixture(scope="module")
def unchanged() -> str:
    return code_id_of(ROOT / "suite")


@pytest.mark.parametrize("kind", COUNTS)
def test_what_can_change_a_number_changes_the_identity(suite: Path, kind: str, unchanged: str) -> None:
    assert edited(suite, *COUNTS[kind]) != unchanged


@pytest.mark.slow
def test_each_of_these_is_another_identity(tmp_path: Path) -> None:
    found = set()
    for kind in COUNTS:
        copy = shutil.copytree(ROOT / "suite", tmp_path / kind, ignore=shutil.ignore_patterns("__pycache__"))
        found.add(edited(copy, *COUNTS[kind]))
    assert len(found) == len(COUNTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS_NOT)
def test_what_changes_no_number_changes_nothing(suite: Path, kind: str, unchanged: str) -> None:
    assert edited(suite, *COUNTS_NOT[kind]) == unchanged


def test_a_module_that_is_no_python_yet_ends_nothing(suite: Path) -> None:
    (suite / "methods" / "mine.py").write_text("def half(")
    first = code_id_of(suite)
    (suite / "methods" / "mine.py").write_text("def half(x")
    assert len({first, code_id_of(suite), code_id_of(ROOT / "suite")}) == 3


def test_a_new_method_counts_at_once(suite: Path) -> None:
    (suite / "methods" / "mine.py").write_text("x = 1\n")
    assert code_id_of(suite) != code_id_of(ROOT / "suite")


def test_every_module_that_is_named_is_there() -> None:
    for name in (*code_id.HASHED_PATHS, *code_id.UNHASHED_PATHS):
        assert (ROOT / "suite" / name).exists(), name
    counted = {file.relative_to(ROOT / "suite").as_posix() for file in hashed_files(ROOT / "suite")}
    assert {
        "methods/edge_popup.py",
        "models/resnet.py",
        "data/arrays.py",
        "train/loop.py",
        "config/trial.py",
    } <= counted
    assert not counted & set(code_id.UNHASHED_PATHS)


@pytest.mark.long
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_another_python_finds_the_same_identity(version: str) -> None:
    if shutil.which(f"python{version}") is None or version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip(f"no other Python {version}")
    code = (
        "import sys; sys.path.insert(0, 'suite/records'); import code_id, pathlib"  # not the package: it needs pydantic
    )
    code += "; print(code_id.code_id_of(pathlib.Path('suite')))"
    command = [f"python{version}", "-c", code]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found.strip() == code_id_of(ROOT / "suite")
