"""Statements that Postgres plans once for each connection, not each time they run.

psycopg2 sends text, and Postgres plans it anew: a third of what the statements on the way to the first word cost
(docs/decisions/0015). A statement that is built once and marked here is sent as PREPARE the first time that a
connection runs it, and as EXECUTE from then on; its parameters and its rows are what they were.

A value that a partial index is chosen by must stand in the text (`literal_execute`): a plan made once for all values
could not use that index.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg2.errors
from sqlalchemy import ClauseElement, Connection, CursorResult, Engine, Executable, event
from sqlalchemy.engine import ExceptionContext

log = logging.getLogger(__name__)

_OPTION = "naru_prepared"
_PARAMETER = re.compile(r"%\((\w+)\)s|%%")
#: What Postgres says when a pooler gave us another of its connections than the one that has prepared.
_NOT_HERE = (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.DuplicatePreparedStatement)

S = TypeVar("S", bound=Executable)


def prepared(statement: S) -> S:
    """Mark a statement; it must be one that is built once and run often."""
    return statement.execution_options(**{_OPTION: True})


def install(engine: Engine) -> None:
    """Have the marked statements of this engine prepared."""
    preparing = _Preparing()
    event.listen(engine, "before_cursor_execute", preparing.before_execute, retval=True)
    event.listen(engine, "handle_error", preparing.on_error)


@dataclass(frozen=True, slots=True)
class _Known:
    """A statement that a connection has prepared, and its parameters in the order of their numbers."""

    name: str
    parameters: tuple[str, ...]

    @property
    def call(self) -> str:
        """What runs it; the driver fills in the parameters."""
        values = ", ".join(f"%({each})s" for each in self.parameters)
        return f"EXECUTE {self.name}({values})" if values else f"EXECUTE {self.name}"


class Piece:
    """Statements that are sent in one piece: one round trip, and a transaction of their own where none is open.

    Each sees what those before it have done. They go past most of what SQLAlchemy does for a statement, which costs a
    process that had rested as much as Postgres's own part. Built once, from statements that are built once and that
    need not be written anew for each set of values (no `expanding` parameters).
    """

    def __init__(self, *statements: ClauseElement) -> None:
        self._statements = statements
        self._texts: tuple[str, ...] = ()
        #: Parameters that have their values from the statements, by other names in each.
        self._constants: dict[str, Any] = {}

    def run(self, connection: Connection, values: dict[str, Any]) -> CursorResult[Any]:
        """The rows of the last one, as the driver gives them; `values` are the parameters of all of them."""
        if not self._texts:
            compiled = [self._compile(connection, number, values) for number in range(len(self._statements))]
            self._constants = {name: value for _, constants in compiled for name, value in constants.items()}
            self._texts = tuple(text for text, _ in compiled)
        return connection.exec_driver_sql(
            "; ".join(self._texts), {**self._constants, **values}, execution_options={_OPTION: self._texts}
        )

    def _compile(self, connection: Connection, number: int, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """One statement's text for the driver, and the values that it brings itself."""
        compiled = self._statements[number].compile(connection)
        all_values = compiled.construct_params(values) or {}
        names = {name: name if name in values else f"of_{number}_{name}" for name in all_values}
        text = _PARAMETER.sub(lambda found: f"%({names[found[1]]})s" if found[1] else "%%", str(compiled))
        return text, {names[name]: value for name, value in all_values.items() if name not in values}


class _Preparing:
    def __init__(self) -> None:
        self._is_on = True

    def before_execute(
        self, connection: Connection, cursor: Any, text: str, parameters: Any, *rest: Any
    ) -> tuple[str, Any]:
        """SQLAlchemy's event: another text for the same parameters."""
        context, is_many = rest
        marked = None if context is None else context.execution_options.get(_OPTION)
        if not self._is_on or is_many or not marked:
            return text, parameters
        # Lives as long as the driver's connection.
        known: dict[str, _Known] = connection.connection.info.setdefault(_OPTION, {})
        calls = [_call_of(each, known, cursor) for each in ((text,) if marked is True else marked)]
        return "; ".join(calls), parameters

    def on_error(self, context: ExceptionContext) -> None:
        """SQLAlchemy's event: behind a pooler statements are sent whole, from the first time that it shows."""
        if isinstance(context.original_exception, _NOT_HERE):
            log.warning("a pooler stands before Postgres: statements are not prepared any more")
            self._is_on = False
            # The person's question is refused as when Postgres is away, and accepted when it is sent again.
            context.is_disconnect = True


def _call_of(text: str, known: dict[str, _Known], cursor: Any) -> str:
    """What runs a statement, which is prepared here and now where the connection does not know it."""
    if text not in known:
        numbered, names = _numbered(text)
        made = _Known(f"naru_{len(known)}", names)
        cursor.execute(f"PREPARE {made.name} AS {numbered}")
        known[text] = made
    return known[text].call


def _numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with $1, $2, … for psycopg2's parameters, and their names in that order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, text), tuple(names)
