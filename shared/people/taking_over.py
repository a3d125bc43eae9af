"""Give a guest's conversations to a person who has signed in in the same browser, or an account's to another one."""

from __future__ import annotations

from sqlalchemy import Engine, func, select, update

from shared import audit
from shared.audit import Kind
from shared.people.owner import Owner
from shared.postgres.database import transaction
from shared.tables import chat_request, conversation

_C, _R = conversation.c, chat_request.c


def conversations_of(engine: Engine, owner: Owner) -> int:
    """Return how many conversations the owner has, without deleted and empty ones."""
    counted = select(func.count()).where(_C.owner_id == owner.key, _C.deleted_at.is_(None), _C.leaf_id.is_not(None))
    with transaction(engine) as connection:
        return int(connection.execute(counted).scalar_one())


def take_over(engine: Engine, *, guest: Owner, person: Owner) -> int:
    """Make all of the guest's conversations and requests the person's; return the number of conversations.

    Running answers go on: a worker knows its request by id. Deleted conversations come along, so that erasing the
    person erases them too. An answer that ends locks its request and then its conversation, so each transaction here
    locks one of the two only. If this is interrupted, the guest still has the conversations, and it can be run again.
    """
    _move_requests(engine, guest, person)
    moved = update(conversation).where(_C.owner_id == guest.key).values(owner_id=person.key)
    with transaction(engine) as connection:
        number = int(connection.execute(moved).rowcount)
        if number:
            audit.record(connection, Kind.CHATS_TAKEN_OVER, subject=guest.key, conversations=number)
    _move_requests(engine, guest, person)  # those that were asked in between
    return number


def _move_requests(engine: Engine, guest: Owner, person: Owner) -> None:
    with transaction(engine) as connection:
        connection.execute(update(chat_request).where(_R.owner_id == guest.key).values(owner_id=person.key))
