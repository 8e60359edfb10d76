"""How the code is written: the size of functions and modules, and the words of its prose."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAX_MODULE = 450
MAX_FUNCTION = 50
"""Lines, without the docstring."""

TABLES_OF_DATA: dict[str, str] = {}
"""Modules that may be longer, with the reason."""

# Each has a plainer word, or a subject that is a thing in the code.
WORDS = re.compile(r"\b(whoever|somebody|nobody|anybody|meanwhile|as ever|looked at|mishaps?)\b", re.IGNORECASE)

MODULES = sorted(
    path.relative_to(ROOT)
    for folder in ("ckanext/archiver", "bin", "bench")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py") if path.name != "test_code.py")
PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.rst"), *ROOT.glob("docs/**/*.rst")])


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_is_short(path: Path) -> None:
    if str(path) not in TABLES_OF_DATA:
        assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= MAX_MODULE


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_function_is_short(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    assert {node.name: _lines(node) for node in functions if _lines(node) > MAX_FUNCTION} == {}


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    text = first if ast.get_docstring(function) else None
    return _height(function) - (_height(text) if text else 0)


def _height(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", [*MODULES, *TESTS, *PAGES], ids=str)
def test_prose_is_plain(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    lines = _prose(text) if path.suffix == ".py" else enumerate(text.splitlines(), 1)

    assert [f"{path}:{number}: {line.strip()}" for number, line in lines if WORDS.search(line)] == []


def _prose(source: str) -> Iterator[tuple[int, str]]:
    """The lines of docstrings and comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from enumerate(node.value.value.splitlines(), node.lineno)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_a_module_of_tests_has_a_name_of_its_own() -> None:
    # pytest imports them all as top-level modules.
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_the_checks_find_what_they_look_for() -> None:
    assert [number for number, line in _prose('"""a\nwhoever"""\n# nobody\nx = "nobody"\n') if WORDS.search(line)] == [
        2,
        3,
    ]
    (function,) = ast.parse('def f():\n    """two\n    lines"""\n    x = 1\n    return x\n').body
    assert isinstance(function, ast.FunctionDef)
    assert _lines(function) == 3
