"""Conversations as people see them: list, open, rename, delete, and what became of a question.

How a message comes to be is `shared/lifecycle/`; how it is drawn is the page's. May import the lifecycle, the tables
and `shared.postgres`; nothing of the worker fleet, the live stream or Redis.
"""

from shared.conversations.conversations import (
    MAX_TITLE_CHARACTERS as MAX_TITLE_CHARACTERS,
)
from shared.conversations.conversations import (
    ActiveRequest as ActiveRequest,
)
from shared.conversations.conversations import (
    ConversationRow as ConversationRow,
)
from shared.conversations.conversations import (
    Opened as Opened,
)
from shared.conversations.conversations import (
    check_owner as check_owner,
)
from shared.conversations.conversations import (
    delete as delete,
)
from shared.conversations.conversations import (
    list_conversations as list_conversations,
)
from shared.conversations.conversations import (
    open_conversation as open_conversation,
)
from shared.conversations.conversations import (
    rename as rename,
)
