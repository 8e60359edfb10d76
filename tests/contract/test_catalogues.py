"""The catalogues of translations: each has every sentence of the template, with its placeholders, and is compiled."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

FOLDER = Path(__file__).parents[2] / "ckanext/archiver/i18n"
LANGUAGES = ("de", "es", "fr", "pl")
MARKS = ("_", "N_", "ungettext")


def read(path: Path) -> Catalog:
    return read_po(io.BytesIO(path.read_bytes()))


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{\w+\}|%\(\w+\)s", text))


def is_right(message: Any, found: Any, plurals: int) -> bool:
    """Whether a translation has the placeholders of its sentence, and all its plural forms."""
    if not message.pluralizable:
        return placeholders(found.string) == placeholders(message.id)
    known = placeholders("".join(message.id))
    return len(found.string) == plurals and all(placeholders(text) <= known for text in found.string)


def test_these_are_the_languages() -> None:
    assert sorted(path.parts[-3] for path in FOLDER.glob("*/LC_MESSAGES/*.po")) == sorted(LANGUAGES)


def marked_sentences(path: Path) -> set[str]:
    """The sentences that a module marks for translation."""
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    marked = (call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) in MARKS)
    return {
        argument.value
        for call in marked
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def test_the_template_has_every_sentence_of_the_code() -> None:
    """Babel finds none within an f-string."""
    template = read(FOLDER / "ckanext-archiver.pot")
    known = {id_ for message in template for id_ in (message.id if message.pluralizable else (message.id,))}
    missing = {path.name: marked_sentences(path) - known for path in FOLDER.parent.rglob("*.py")}
    assert {name: found for name, found in missing.items() if found} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_has_every_sentence(language: str) -> None:
    catalogue = read(FOLDER / language / "LC_MESSAGES/ckanext-archiver.po")
    missing, wrong = [], []
    for message in read(FOLDER / "ckanext-archiver.pot"):
        if not message.id:
            continue
        found = catalogue.get(message.id)
        if found is None or found.fuzzy or not found.string or not all(found.string):
            missing.append(message.id)
        elif not is_right(message, found, catalogue.num_plurals):
            wrong.append(message.id)
    assert (missing, wrong) == ([], [])


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]{2,}", re.sub(r"\{\w+\}|%\(\w+\)s", "", text))


def test_no_catalogue_has_a_sentence_of_another_language() -> None:
    """Words that stand alone ("Format", "Adresse") may be the same in two languages, sentences are not."""
    sentences: dict[str, list[str]] = {}
    for language in LANGUAGES:
        for message in read(FOLDER / language / "LC_MESSAGES/ckanext-archiver.po"):
            texts = {*message.string} if message.pluralizable else {message.string}
            for text in texts:
                if message.id and len(words(text)) > 1:
                    sentences.setdefault(text, []).append(language)
                    assert text not in (message.id, *message.id), language
    assert {text: found for text, found in sentences.items() if len(found) > 1} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_is_compiled(language: str) -> None:
    """With the same sentences, if not the same bytes: those depend on the release of Babel."""
    folder = FOLDER / language / "LC_MESSAGES"
    catalogue = read(folder / "ckanext-archiver.po")
    with (folder / "ckanext-archiver.mo").open("rb") as file:
        compiled = read_mo(file)
    assert sentences(compiled) == sentences(catalogue), "python setup.py compile_catalog"


def sentences(catalogue: Catalog) -> list[tuple[list[str], list[str]]]:
    """The sentences with their translations, each as the list of its plural forms."""
    forms = ((message.id, message.string) for message in catalogue if message.id)
    return sorted(tuple([text] if isinstance(text, str) else list(text) for text in pair) for pair in forms)  # type: ignore[misc]
