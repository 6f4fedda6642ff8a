"""Structured logs: one JSON line an event to stderr, with bound fields; every text is one printable line."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.errors import FleetbusError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(clock: Clock, *, level: str = "info", **fields: str) -> None:
    """Log from now on at `level` and above; `fields`, such as the program and the cluster, stand in each line."""
    structlog.contextvars.bind_contextvars(**fields)

    def stamped(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {"at": clock.now().isoformat(timespec="milliseconds"), **event}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamped,
            printable,
            structlog.processors.JSONRenderer(_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    # What libraries log by themselves may quote values in tracebacks.
    logging.basicConfig(level=logging.CRITICAL)


def printable(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Every value in a form that a terminal can show: errors as sentences, texts without control characters."""
    return {key: _shown(value) for key, value in event.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, FleetbusError):
        return cleaned(value.sentence())
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    return cleaned(str(value))


def _line(event: EventDict, **unused: Any) -> bytes:
    return orjson.dumps(event)
