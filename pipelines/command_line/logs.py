"""Write messages to stderr: as text for people, or as one JSON object a line for programs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import sys
from typing import Any, Literal

LogFormat = Literal["text", "json"]
# Beam logs the first at every import without its Google extra, and the others, with a step's code, when a disk is full.
_NOISE = ("apitools not found", "OSError: [Errno 28]", "[Errno 28]")
_log = logging.getLogger("encode_once")
_in_json = False


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object: time (UTC), level, logger, message; `fields` and a traceback where it has them."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if fields := getattr(record, "fields", None):
            line["fields"] = fields
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logging(log_format: LogFormat = "text") -> None:
    """Write warnings and errors of all libraries to stderr in a format. In JSON, Python's own warnings are among them."""
    global _in_json
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    handler = logging.getLogger().handlers[0]
    handler.addFilter(lambda record: not record.getMessage().startswith(_NOISE))
    _in_json = log_format == "json"
    if _in_json:
        handler.setFormatter(JsonFormatter())
        _log.setLevel(logging.INFO)
        logging.captureWarnings(True)


def is_json() -> bool:
    """Return whether messages are JSON lines: nothing else may be written to stderr then."""
    return _in_json


def write_message(text: str, message: str, level: int = logging.ERROR, **fields: Any) -> None:
    """Write a line to stderr.

    Args:
        text: the line as text.
        message, level, fields: the line as JSON.
    """
    if _in_json:
        _log.log(level, message, extra={"fields": fields})
    else:
        print(text, file=sys.stderr, flush=True)


def write_end(command: str, exit_code: int, seconds: float, result: Any) -> None:
    """Write how a command ended, with what it returned, if messages are JSON. As text, the commands print it themselves."""
    if _in_json:
        fields = {"command": command, "exit_code": exit_code, "seconds": round(seconds, 3)}
        if (values := _as_values(result)) is not None:
            fields["result"] = values
        _log.info("%s ended with exit code %d", command, exit_code, extra={"fields": fields})


def write_traceback(error: BaseException) -> None:
    """Write an error that is a fault of this program, if messages are JSON."""
    _log.error("%s: %s", type(error).__name__, error, exc_info=error)


def _as_values(result: Any) -> Any:
    """Return a command's result as values of JSON; None where it has others, as an encoder has."""
    if hasattr(result, "to_dict"):
        result = result.to_dict()
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = dataclasses.asdict(result)
    elif isinstance(result, (list, tuple)):
        result = [_as_values(one) for one in result]
    try:
        json.dumps(result)
    except (TypeError, ValueError):
        return None
    return result
