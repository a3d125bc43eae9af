"""Conversations: list, open, rename, tune, delete and export them, and check whether a question was stored.

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
    tune,
)
from shared.conversations.export import exported_conversations, exported_messages
from shared.conversations.reasoning import reasoning_of

__all__ = [
    "MAX_TITLE_CHARACTERS",
    "ActiveRequest",
    "ConversationRow",
    "Opened",
    "check_owner",
    "delete",
    "exported_conversations",
    "exported_messages",
    "list_conversations",
    "open_conversation",
    "reasoning_of",
    "rename",
    "tune",
]
