"""Logs of the service: one JSON object a line, never a word of a post."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

FIELDS = "fields"
"""The attribute of a log record that holds its fields: `logger.info("request", extra={FIELDS: {...}})`."""


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `event`, then the record's fields.

    Of an exception it writes the kind and where it was raised, not its message, which may quote the post at hand.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line, ensure_ascii=False)


def log_as_json() -> None:
    """Send every log record of this process to standard error as a line of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
