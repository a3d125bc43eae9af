"""The person's verbs: submit a question, and stop its answer.

The caller sends the hint afterwards. STORE and `stop` notify the other processes in their own transactions.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Engine, case, func, literal, select, update

from shared import audit, fleet, logs
from shared.audit import Kind
from shared.errors import (
    Empty,
    NotFound,
    NothingToAnswer,
    QueueFull,
    StillRunning,
    TooLong,
    Unavailable,
    UnknownModel,
    Unsure,
)
from shared.lifecycle.ending import NOW, Ending, end
from shared.lifecycle.fast_submit import store_in_one_round_trip
from shared.lifecycle.owner_limits import refuse_over_limit, values_of
from shared.lifecycle.question_statements import ENTER, FIND, QUEUE_IS_FULL, STORE, STORE_AGAIN
from shared.lifecycle.values import OwnerLimits, Question, Submitted, storable
from shared.people import Owner
from shared.postgres import notify
from shared.postgres.connections import PATIENCE_SECONDS
from shared.postgres.database import transaction
from shared.tables import Status, chat_request, message

log = logging.getLogger(__name__)

TITLE_CHARACTERS = 60
#: Pause before submitting again when the outcome is unknown.
RESUBMIT_SECONDS = 0.25
#: The advice to someone whose question meets a full queue.
QUEUE_FULL_SECONDS = 30
_R = chat_request.c
_UNLIMITED = OwnerLimits()


def submit(
    engine: Engine,
    question: Question,
    *,
    deadline_seconds: float,
    max_characters: int,
    limits: OwnerLimits = _UNLIMITED,
) -> Submitted:
    """Store a question and its request, or find the request that the same key made before.

    Raises StillRunning, NotFound, Empty, TooLong, NothingToAnswer, UnknownModel, an OverLimit or Unavailable; in all
    these cases the question was not stored. If the connection breaks before the outcome is known, submit tries again on
    another connection: the key keeps it from storing the question twice. Raises Unsure, an Unavailable, if Postgres
    stays away for too long.
    """
    text = check_text(question, max_characters)
    give_up_at, is_unsure = time.monotonic() + PATIENCE_SECONDS, False
    while True:
        try:
            stored = _submit_once(engine, question, text, deadline_seconds=deadline_seconds, limits=limits)
            # After a lost commit, a request with this key was most likely stored by this call.
            return replace(stored, is_new=stored.is_new or is_unsure)
        except Unavailable as error:
            is_unsure = is_unsure or isinstance(error, Unsure)
            if not is_unsure:
                raise
            if time.monotonic() > give_up_at:
                raise Unsure from error
            time.sleep(RESUBMIT_SECONDS)


def check_text(question: Question, max_characters: int) -> str:
    """Return the text in a form that Postgres can store. Raises Empty or TooLong."""
    text = storable(question.text.strip())
    if not text and not question.regenerate:
        raise Empty
    if len(text) > max_characters:
        raise TooLong(len(text), max_characters)
    return text


def _submit_once(
    engine: Engine, question: Question, text: str, *, deadline_seconds: float, limits: OwnerLimits
) -> Submitted:
    """Try the fast path, then the slow one."""
    request_id = uuid4()
    values = {
        "q_request": request_id,
        "q_owner": question.owner.key,
        "q_conversation": question.conversation_id,
        "q_title": _title_of(text),
        "q_tuning": question.tuning.stored(),
        "q_message": uuid4(),
        "q_text": text,
        "q_key": question.idempotency_key,
        "q_model": question.model,
        "q_http_request": logs.bound_id(logs.HTTP_REQUEST_ID),
        "q_deadline": timedelta(seconds=deadline_seconds),
        **values_of(limits),
    }
    lane = None if question.regenerate else store_in_one_round_trip(engine, values)
    if lane is None:
        with transaction(engine) as connection:
            stored = _store_in_steps(connection, question, values, limits)
        if isinstance(stored, Submitted):
            return stored
        lane = stored
    log.info("submitted", extra={"request_id": str(request_id), "conversation_id": str(question.conversation_id)})
    return Submitted(request_id=request_id, conversation_id=question.conversation_id, is_new=True, lane=lane)


def _title_of(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= TITLE_CHARACTERS else words[: TITLE_CHARACTERS - 1].rstrip() + "…"


def _store_in_steps(
    connection: Connection, question: Question, values: dict[str, Any], limits: OwnerLimits
) -> Submitted | str:
    """Slow path, also used to regenerate. Return the request with the same key, or the lane of a new one.

    Raises NotFound, NothingToAnswer, StillRunning, UnknownModel, TooManyActive, OwnerTooFast or QueueFull.
    """
    leaf_id = _enter_conversation(connection, values)
    if question.regenerate:
        if (known := _find(connection, question)) is not None:
            return known
        values = {**values, "q_message": _last_question(connection, leaf_id)}
    stored = connection.execute(STORE_AGAIN if question.regenerate else STORE, values).one_or_none()
    if stored is None:
        return _find_or_refuse(connection, question, limits)
    notify.after_commit(connection, notify.REQUEST, values["q_request"], question.conversation_id)
    return str(stored.lane)


def _enter_conversation(connection: Connection, values: dict[str, Any]) -> UUID | None:
    """Create or lock the conversation and return the id of its last message.

    Raises NotFound where it is another owner's or deleted.
    """
    row = connection.execute(ENTER, values).one_or_none()
    if row is None:
        raise NotFound
    leaf_id: UUID | None = row.leaf_id
    return leaf_id


def _last_question(connection: Connection, leaf_id: UUID | None) -> UUID:
    """Return the id of the branch's last question. Raises NothingToAnswer."""
    row = connection.execute(
        select(case((message.c.role == "user", message.c.id), else_=message.c.parent_id)).where(message.c.id == leaf_id)
    ).scalar_one_or_none()
    if row is None:
        raise NothingToAnswer
    return UUID(str(row))


def _find_or_refuse(connection: Connection, question: Question, limits: OwnerLimits) -> Submitted:
    """Return the request with the same key, or raise the reason: StillRunning, UnknownModel or an OverLimit."""
    if (known := _find(connection, question)) is not None:
        return known
    if question.model and not connection.execute(select(fleet.may_offer(literal(question.model)))).scalar_one():
        raise UnknownModel
    refuse_over_limit(connection, question.owner, limits)
    if connection.execute(QUEUE_IS_FULL, {"q_model": question.model}).scalar_one():
        raise QueueFull(seconds=QUEUE_FULL_SECONDS)
    raise StillRunning  # another conversation has just used the same key, or the owner is below the limit again


def _find(connection: Connection, question: Question) -> Submitted | None:
    """Return the request with the same key, or None. Raises StillRunning if the conversation has an active request."""
    values = {
        "q_owner": question.owner.key,
        "q_key": question.idempotency_key,
        "q_conversation": question.conversation_id,
    }
    rows = connection.execute(FIND, values).all()
    for row in rows:
        if row.is_same:
            return Submitted(request_id=row.id, conversation_id=row.conversation_id, is_new=False)
    if rows:
        raise StillRunning(rows[0].id)
    return None


def stop(engine: Engine, request_id: UUID, *, owner: Owner) -> Status:
    """Cancel a queued request at once, or ask the worker to stop a running one.

    Returns the status afterwards: CANCELLED, RUNNING (the worker was asked), or the status of a request that had
    already ended. Raises NotFound.
    """
    return _stop(engine, request_id, _R.owner_id == owner.key)


def stop_any(engine: Engine, request_id: UUID) -> Status:
    """Do for an administrator what `stop` does for the owner."""
    status = _stop(engine, request_id)
    if status in {Status.CANCELLED, Status.RUNNING}:
        with transaction(engine) as connection:
            audit.record(connection, Kind.REQUEST_STOPPED, subject=str(request_id))
    return status


def _stop(engine: Engine, request_id: UUID, *conditions: ColumnElement[bool]) -> Status:
    this = _R.id == request_id
    with transaction(engine) as connection:
        # Lock the row first. Otherwise the request could go back to the queue after we have read its status, and the
        # stop would be lost.
        row = connection.execute(
            select(_R.status, _R.conversation_id).where(this, *conditions).with_for_update()
        ).one_or_none()
        if row is None:
            raise NotFound
        if row.status == Status.QUEUED:
            end(connection, (this,), Ending(status=Status.CANCELLED, outcome=None))
            return Status.CANCELLED
        if row.status == Status.RUNNING:
            asked_at = func.coalesce(_R.stop_requested_at, NOW)
            connection.execute(update(chat_request).where(this).values(stop_requested_at=asked_at))
            notify.after_commit(connection, notify.STOP, request_id, row.conversation_id)
            log.info(
                "stop requested", extra={"request_id": str(request_id), "conversation_id": str(row.conversation_id)}
            )
    return Status(row.status)
