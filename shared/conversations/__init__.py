"""Conversations: list, open, rename and delete them, and check whether a question was stored.

`shared/lifecycle/` stores messages; the page draws them. May import the lifecycle, the tables and `shared.postgres`;
nothing of the worker fleet, the live stream or Redis.
"""

from shared.conversations.conversations import (
    MAX_TITLE_CHARACTERS,
    ActiveRequest,
    ConversationRow,
    Opened,
    check_owner,
    delete,
    list_conversations,
    open_conversation,
    rename,
)

__all__ = [
    "MAX_TITLE_CHARACTERS",
    "ActiveRequest",
    "ConversationRow",
    "Opened",
    "check_owner",
    "delete",
    "list_conversations",
    "open_conversation",
    "rename",
]
