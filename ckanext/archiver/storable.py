"""What PostgreSQL can store as text. JSON, a command line and a form can bring what it cannot."""

from __future__ import annotations


def is_storable(value: object) -> bool:
    """Whether a value is a text without null characters and without halves of characters (surrogates)."""
    return isinstance(value, str) and "\x00" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
