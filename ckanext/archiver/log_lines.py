"""Lines of the log that programs read too: ``checked verdict=ok resource=… url="http://…"`` (logfmt)."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from ckanext.archiver.engine.urls import redact

MAX_VALUE = 500
"""Characters of a value; a longer one is cut."""


class LogLine:
    """A message with fields: the argument of a log call whose format is ``"%s"``.

    Values come from resources and remote servers. A value that is no plain word is quoted as in JSON, in ASCII, so
    none can begin a line of its own or reach a terminal. A URL is without its credentials.
    """

    def __init__(self, event: str, **fields: Any) -> None:
        self.event, self._fields = event, fields

    @property
    def fields(self) -> dict[str, Any]:
        """As they are written. Made anew each time: most lines are written once, or not at all."""
        return {name: _short(name, value) for name, value in self._fields.items() if value is not None}

    def __str__(self) -> str:
        return " ".join([self.event, *(f"{name}={_word(value)}" for name, value in self.fields.items())])


def _short(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return (redact(value) if name == "url" else value)[:MAX_VALUE]


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if re.fullmatch(r"[A-Za-z0-9._:/@%+-]+", text) else json.dumps(text)


class Json(JsonFormatter):
    """One JSON object a line: time, level, logger, message, and the fields of a :class:`LogLine`."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        if isinstance(record.args, tuple) and len(record.args) == 1 and isinstance(record.args[0], LogLine):
            log_data["message"] = record.args[0].event
            log_data.update(record.args[0].fields)


def use_json() -> None:
    """Have every handler of this process write JSON."""
    handlers = {handler for logger in _loggers() for handler in logger.handlers}
    for handler in handlers:
        handler.setFormatter(Json())


def _loggers() -> list[logging.Logger]:
    named = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    return [logging.root, *named]
