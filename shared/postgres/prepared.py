"""Statements that Postgres plans once per connection instead of on each run, and their batches.

psycopg2 sends text, and Postgres plans it on each run: a third of the cost of the statements before the first word
(docs/decisions/0015). `prepared` marks a statement that is built once. A connection sends it as PREPARE before its
first run and as EXECUTE from then on, with the same parameters and rows.

A value that selects a partial index must be in the text (`literal_execute`): a plan made once for all values cannot
use that index.

The trick is surgery on SQL text in two places. `prepare_and_execute` (SQLAlchemy's event `before_cursor_execute`)
replaces the text that is about to be sent; `Batch` compiles statements itself and joins their texts. Both rely on
psycopg2's parameter style, `%(name)s` and `%%`, on SQLAlchemy passing our execution options to its events, and on
Postgres running several statements in one message as one transaction. Test: tests/shared/test_prepared.py.

A pooler that nobody declared gives each transaction any server connection. So a statement's name comes from its text:
EXECUTE runs the right statement or fails, and a statement that fails in this way runs again as text.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg2.errors
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import ClauseElement, Connection, CursorResult, Engine, Executable, event
from sqlalchemy.engine import ExceptionContext

log = logging.getLogger(__name__)

_OPTION = "naru_prepared"
_PARAMETER = re.compile(r"%\((\w+)\)s|%%")
#: Postgres's errors when a pooler has switched to a server connection that did not see our PREPARE.
_NOT_PREPARED = (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.DuplicatePreparedStatement)

S = TypeVar("S", bound=Executable)


def prepared(statement: S) -> S:
    """Mark a statement as prepared; it must be built once and run often."""
    return statement.execution_options(**{_OPTION: True})


def install(engine: Engine) -> None:
    """Make this engine prepare the statements that are marked."""
    preparing = _Preparing()
    event.listen(engine, "before_cursor_execute", preparing.prepare_and_execute, retval=True)
    event.listen(engine, "do_execute", preparing.execute_or_repeat)
    event.listen(engine, "handle_error", preparing.stop_behind_pooler)


def is_unprepared(error: BaseException) -> bool:
    """Whether a pooler that nobody declared made this statement fail. It succeeds when it runs again."""
    return isinstance(getattr(error, "orig", error), _NOT_PREPARED)


class Batch:
    """Statements that are sent together: one round trip, and a transaction of their own where none is open.

    Each sees the effects of the earlier ones. A batch bypasses most of SQLAlchemy's work per statement, which in a
    process that was idle costs as much as Postgres's own part. Build it once, from statements that are built once and
    whose text does not depend on the values (no `expanding` parameters).
    """

    def __init__(self, *statements: ClauseElement) -> None:
        self._statements = statements
        self._texts: tuple[str, ...] = ()
        #: Constants of the statements, under parameter names that are unique in the batch.
        self._constants: dict[str, Any] = {}

    def run(self, connection: Connection, values: dict[str, Any]) -> CursorResult[Any]:
        """Run all statements with the parameters in `values`; return the last one's rows as psycopg2 gives them."""
        if not self._texts:
            compiled = [self._compile(connection, number, values) for number in range(len(self._statements))]
            self._constants = {name: value for _, constants in compiled for name, value in constants.items()}
            self._texts = tuple(text for text, _ in compiled)
        return connection.exec_driver_sql(
            "; ".join(self._texts), {**self._constants, **values}, execution_options={_OPTION: self._texts}
        )

    def _compile(self, connection: Connection, number: int, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return one statement's text for the driver, and its constants."""
        compiled = self._statements[number].compile(connection)
        all_values = compiled.construct_params(values) or {}
        names = {name: name if name in values else f"of_{number}_{name}" for name in all_values}
        text = _PARAMETER.sub(lambda found: f"%({names[found[1]]})s" if found[1] else "%%", str(compiled))
        return text, {names[name]: value for name, value in all_values.items() if name not in values}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement that a connection has prepared, and its parameters in the order of their numbers."""

    name: str
    parameters: tuple[str, ...]

    @property
    def execute(self) -> str:
        """The EXECUTE that runs it; the driver fills in the parameters."""
        values = ", ".join(f"%({each})s" for each in self.parameters)
        return f"EXECUTE {self.name}({values})" if values else f"EXECUTE {self.name}"


class _Preparing:
    def __init__(self) -> None:
        self._is_on = True

    def prepare_and_execute(
        self, connection: Connection, cursor: Any, text: str, parameters: Any, *rest: Any
    ) -> tuple[str, Any]:
        """Replace a marked statement by its EXECUTE, and prepare it first if needed. An event of SQLAlchemy."""
        context, is_many = rest
        marked = None if context is None else context.execution_options.get(_OPTION)
        if not self._is_on or is_many or not marked:
            return text, parameters
        # This dictionary lives as long as the driver's connection.
        known: dict[str, _Prepared] = connection.connection.info.setdefault(_OPTION, {})
        is_first = cursor.connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        try:
            replaced = "; ".join(_execute_of(each, known, cursor) for each in ((text,) if marked is True else marked))
        except _NOT_PREPARED:
            self._stop()
            if not is_first:
                raise
            cursor.connection.rollback()
            return text, parameters
        if is_first:
            context.naru_plain = text
        return replaced, parameters

    def execute_or_repeat(self, cursor: Any, text: str, parameters: Any, context: Any) -> bool:
        """Run the first statement of a transaction, as text where a pooler's connection did not prepare it.

        False leaves any other statement to SQLAlchemy. An event of SQLAlchemy.
        """
        plain = getattr(context, "naru_plain", None)
        if plain is None:
            return False
        try:
            cursor.execute(text, parameters)
        except _NOT_PREPARED:
            self._stop()
            cursor.connection.rollback()
            cursor.execute(plain, parameters)
        return True

    def stop_behind_pooler(self, context: ExceptionContext) -> None:
        """Discard the connections when a statement failed because of a pooler. An event of SQLAlchemy."""
        if isinstance(context.original_exception, _NOT_PREPARED):
            self._stop()
            # It is refused as if Postgres were away, and accepted when it is sent again.
            context.is_disconnect = True

    def _stop(self) -> None:
        if self._is_on:
            log.warning("Postgres is behind a pooler: statements are no longer prepared")
            self._is_on = False


def _execute_of(text: str, known: dict[str, _Prepared], cursor: Any) -> str:
    """Return the EXECUTE of a statement; PREPARE it now if the connection does not know it."""
    if text not in known:
        numbered, names = _numbered(text)
        made = _Prepared(f"naru_{hashlib.sha256(text.encode()).hexdigest()[:12]}", names)
        cursor.execute(f"PREPARE {made.name} AS {numbered}")
        known[text] = made
    return known[text].execute


def _numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Replace psycopg2's parameters by $1, $2, …; returns the text and the names in that order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, text), tuple(names)
