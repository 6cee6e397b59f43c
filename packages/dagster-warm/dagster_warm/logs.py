"""The logging of a code server, which its runs must not inherit: their lines would appear twice, or elsewhere."""

import logging
import warnings
from typing import Any

import structlog

_LOGGERS = ("dagster", "dagit", "dagster-webserver")


class ServerLogging:
    """What Dagster's server has set up for its own log, before it loads the user's code."""

    def __init__(self) -> None:
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        self._handlers = [(logger, handler) for logger in loggers for handler in logger.handlers]
        self._levels = [(logger, logger.level) for logger in loggers]
        self._show_warning: Any = warnings.showwarning
        self._structlog_processors = structlog.get_config()["processors"] if structlog.is_configured() else None

    def undo(self) -> None:
        """Undo it in this process, except for what the user's code has changed since."""
        for logger, handler in self._handlers:
            logger.removeHandler(handler)
        for logger, level in self._levels:
            if logger.level == level:
                logger.setLevel(logging.NOTSET)
        if warnings.showwarning is self._show_warning:
            warnings.showwarning = warnings._showwarning_orig  # type: ignore[attr-defined]
        if structlog.is_configured() and structlog.get_config()["processors"] is self._structlog_processors:
            structlog.reset_defaults()
