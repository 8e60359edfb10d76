"""Every detail has its sentence, every sentence its use, and every place in a sentence its fact."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckanext.archiver.engine.reasons import REASONS, reason

PACKAGE = Path(__file__).parents[3] / "ckanext" / "archiver"
# How a failure is made, and which argument is its detail.
MAKERS = {"Failure": 1, "unreachable": 0, "server_error": 0, "_Bad": 0}


def places(detail: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(REASONS[detail]) if name}


def failures() -> Iterator[tuple[str, str, set[str], bool]]:
    """Where, detail, facts named, and whether more facts are added from a mapping."""
    for path in sorted((PACKAGE / "engine").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in MAKERS:
                continue
            detail = node.args[MAKERS[node.func.id]]
            if isinstance(detail, ast.Constant):
                facts = {keyword.arg for keyword in node.keywords if keyword.arg}
                unnamed = any(keyword.arg is None for keyword in node.keywords)
                yield f"{path.name}:{node.lineno}", str(detail.value), facts, unnamed


FAILURES = list(failures())


def test_the_search_finds_them() -> None:
    assert len(FAILURES) > 70


@pytest.mark.parametrize(("where", "detail", "facts", "unnamed"), FAILURES, ids=[found[0] for found in FAILURES])
def test_a_failure_has_a_sentence_and_its_facts(where: str, detail: str, facts: set[str], unnamed: bool) -> None:
    assert detail in REASONS, where
    assert unnamed or places(detail) <= facts, where


def test_every_sentence_is_used() -> None:
    used = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "reasons.py":
            found = ast.walk(ast.parse(path.read_text()))
            used |= {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert set(REASONS) <= used


def test_sentences_are_sentences() -> None:
    for detail, sentence in REASONS.items():
        assert sentence[0].isupper() or sentence[0] == "{", detail
        assert sentence.endswith((".", ".)", "}")), detail


def test_a_fact_is_shown_as_it_is() -> None:
    """A remote's braces are text, not places to be filled."""
    assert reason("soft-service-exception", {"message": "{0} {status!r}"}).endswith("{0} {status!r}")
