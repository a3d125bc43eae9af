"""Reads settings from environment variables and files. The only module that reads the environment."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from shared.addresses import complaint
from shared.errors import SettingsError
from shared.settings.field import variable_of
from shared.settings.settings import Settings

#: Longest part of a wrong value that an error quotes.
_SHOWN = 60


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read, parse and check all settings. Raises SettingsError naming the variable and what it should be."""
    source = os.environ if environ is None else environ
    values = {each.name: _value_of(each, source) for each in fields(Settings)}
    settings = Settings(**{name: value for name, value in values.items() if value is not None})
    settings.check()
    return settings


def environment() -> dict[str, str]:
    """Return a copy of this process's environment, for starting another process with it."""
    return dict(os.environ)


def _value_of(each: Field[Any], source: Mapping[str, str]) -> Any:
    variable = variable_of(each.name)
    text = _raw(variable, source)
    if text is None or (text == "" and each.type != "str"):
        return None
    try:
        value = _PARSERS[str(each.type)](text)
    except ValueError:
        raise SettingsError(f"{variable} is {_shown(text)}, which is not {_KINDS[str(each.type)]}.") from None
    if isinstance(value, str):
        _check_text(variable, each, value)
        return value
    least, most = each.metadata["least"], each.metadata["most"]
    if least is not None and value < least:
        raise SettingsError(f"{variable} is {text}; the minimum is {least:g}.")
    if value > most:
        raise SettingsError(f"{variable} is {text}; the maximum is {most:,}.")
    return value


def _check_text(variable: str, each: Field[Any], text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"{variable} is not UTF-8.") from None
    if why := complaint(each.metadata["kind"], text) if each.metadata["kind"] else None:
        # Never quote the value: most of these hold a password.
        raise SettingsError(f"{variable} is {why}.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _raw(variable: str, source: Mapping[str, str]) -> str | None:
    path = source.get(f"{variable}_FILE")
    # An empty variable counts as unset: compose passes `X: ${X:-}` beside a mounted X_FILE.
    if not path or source.get(variable):
        return source.get(variable)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"{variable}_FILE names {path}, which cannot be read: {reason}.") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _boolean(text: str) -> bool:
    known = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if text.strip().lower() not in known:
        raise ValueError(text)
    return known[text.strip().lower()]


_PARSERS: dict[str, Callable[[str], Any]] = {"str": str.strip, "int": int, "float": _finite, "bool": _boolean}
_KINDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
