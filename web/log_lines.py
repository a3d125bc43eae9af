"""Send the libraries' log lines through our handler, and keep clients from flooding the log.

Streamlit and uvicorn log a traceback for any input that they cannot parse. That is not an error of ours, so it becomes
one line with the error's type and place.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

import streamlit.logger

from shared.log_rate import RateBound

WEB = Path(__file__).parent
#: Frames in these files do not make an error ours: they pass client input on to Streamlit.
_PASS_ON = (WEB / "app.py", WEB / "api", WEB / "asgi")
#: Signs and reads cookies by itself, so its errors are ours.
_COOKIES = WEB / "asgi" / "cookies.py"
_LIBRARIES = ("streamlit", "uvicorn", "websockets", "asyncio")


def adopt_library_loggers() -> None:
    """Route the libraries' loggers to our handler. Streamlit gives each of its loggers one of its own."""

    def pass_on(logger: logging.Logger) -> None:
        logger.handlers.clear()
        logger.propagate = True

    # Streamlit also calls this for each logger that it creates later.
    streamlit.logger.setup_formatter = pass_on
    streamlit.logger.update_formatter()
    for handler in logging.getLogger().handlers:
        handler.addFilter(RateBound(is_bounded))
        handler.addFilter(without_foreign_traceback)


def is_bounded(record: logging.LogRecord) -> bool:
    """Return whether clients can cause this line at will. Lines of `shared` are limited with the questions."""
    return record.levelno >= logging.WARNING or not record.name.startswith("shared")


def without_foreign_traceback(record: logging.LogRecord) -> bool:
    """Replace the traceback of a library's error by the error's type and place, unless our own code failed."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and record.name.startswith(_LIBRARIES) and not _is_ours(error.__traceback__):
        # Omit the error's text, which may quote the input.
        record.error, record.place = type(error).__name__, _place(error.__traceback__)
        record.exc_info = record.exc_text = None
    return True


def _is_ours(traceback: TracebackType | None) -> bool:
    """Return whether the traceback contains a frame of the page or of `shared`."""
    return any(
        path.is_relative_to(WEB.parent / "shared")
        or path == _COOKIES
        or (path.is_relative_to(WEB) and not any(path.is_relative_to(each) for each in _PASS_ON))
        for path in map(Path, _files(traceback))
    )


def _files(traceback: TracebackType | None) -> list[str]:
    files = []
    while traceback is not None:
        files.append(traceback.tb_frame.f_code.co_filename)
        traceback = traceback.tb_next
    return files


def _place(traceback: TracebackType | None) -> str:
    """Return the file and line of the innermost frame."""
    place = ""
    while traceback is not None:
        place = f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
