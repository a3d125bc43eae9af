"""The kinds of events, and the details of each. No detail holds text of a chat, a title, a password or a token."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

#: Longest text of a detail in characters, and of the reason that an administrator gives.
LONGEST_DETAIL, LONGEST_REASON = 100, 500


class Kind(StrEnum):
    """What happened. The page names each kind in the words `audit.kind.<kind>`."""

    SIGNED_IN = "signed_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SIGNED_OUT = "signed_out"
    SESSIONS_ENDED = "sessions_ended"
    ACCOUNT_MADE = "account_made"
    ACCOUNT_DELETED = "account_deleted"
    ACCOUNT_DISABLED = "account_disabled"
    ACCOUNT_ENABLED = "account_enabled"
    INVITATION_MADE = "invitation_made"
    INVITATION_USED = "invitation_used"
    INVITATION_WITHDRAWN = "invitation_withdrawn"
    FACTOR_SWITCHED_ON = "factor_switched_on"
    FACTOR_SWITCHED_OFF = "factor_switched_off"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    GUEST_LINK_MADE = "guest_link_made"
    GUEST_LINK_OPENED = "guest_link_opened"
    GUEST_LINK_REVOKED = "guest_link_revoked"
    PASSWORD_REFUSED = "password_refused"  # noqa: S105 - no password
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - no password
    PASSWORD_LINK_MADE = "password_link_made"  # noqa: S105 - no password
    PASSWORD_SET = "password_set"  # noqa: S105 - no password
    ROLE_CHANGED = "role_changed"
    ROLE_REFUSED = "role_refused"
    LIMITS_CHANGED = "limits_changed"
    GROUP_JOINED = "group_joined"
    GROUP_LEFT = "group_left"
    GROUP_CHANGED = "group_changed"
    GROUP_REMOVED = "group_removed"
    ISSUER_CHANGED = "issuer_changed"
    REQUEST_STOPPED = "request_stopped"
    REQUEST_REQUEUED = "request_requeued"
    WORKER_DRAINED = "worker_drained"
    BANNER_CHANGED = "banner_changed"
    CHATS_TAKEN_OVER = "chats_taken_over"
    CONVERSATION_DELETED = "conversation_deleted"
    CHATS_EXPORTED = "chats_exported"
    CHATS_ERASED = "chats_erased"
    CHATS_READ = "chats_read"
    READING_ACKNOWLEDGED = "reading_acknowledged"
    RECORD_EXPORTED = "record_exported"
    KEYS_CHANGED = "keys_changed"
    SEAL_RENEWED = "seal_renewed"
    BACKUP_MADE = "backup_made"
    BACKUP_RESTORED = "backup_restored"
    ROWS_PURGED = "rows_purged"


#: The names of the details of each kind; a kind that is missing here has none.
DETAILS: Mapping[Kind, frozenset[str]] = {
    Kind.SIGNED_IN: frozenset({"factors"}),
    Kind.SIGN_IN_REFUSED: frozenset({"reason", "times"}),
    Kind.PASSWORD_REFUSED: frozenset({"reason", "times"}),
    Kind.SESSIONS_ENDED: frozenset({"sessions"}),
    Kind.ACCOUNT_MADE: frozenset({"role"}),
    Kind.ACCOUNT_DELETED: frozenset({"conversations"}),
    Kind.INVITATION_MADE: frozenset({"role"}),
    Kind.INVITATION_USED: frozenset({"role"}),
    Kind.ROLE_CHANGED: frozenset({"before", "role"}),
    Kind.ROLE_REFUSED: frozenset({"path", "role", "times"}),
    Kind.LIMITS_CHANGED: frozenset({"limits"}),
    Kind.GROUP_JOINED: frozenset({"group"}),
    Kind.GROUP_LEFT: frozenset({"group"}),
    Kind.GROUP_CHANGED: frozenset({"group", "models", "personal_data", "role"}),
    Kind.GROUP_REMOVED: frozenset({"group"}),
    Kind.ISSUER_CHANGED: frozenset({"issuer", "accounts"}),
    Kind.WORKER_DRAINED: frozenset({"worker"}),
    Kind.CHATS_TAKEN_OVER: frozenset({"conversations"}),
    Kind.CHATS_EXPORTED: frozenset({"format", "times"}),
    Kind.CHATS_ERASED: frozenset({"conversations", "messages"}),
    Kind.CHATS_READ: frozenset({"conversation", "conversations", "reason"}),
    Kind.READING_ACKNOWLEDGED: frozenset({"event"}),
    Kind.RECORD_EXPORTED: frozenset({"times"}),
    Kind.KEYS_CHANGED: frozenset({"before", "keys"}),
    Kind.SEAL_RENEWED: frozenset({"before"}),
    Kind.BACKUP_MADE: frozenset({"backup"}),
    Kind.BACKUP_RESTORED: frozenset({"backup"}),
    Kind.ROWS_PURGED: frozenset({"day", "rows"}),
}


def longest(detail: str) -> int:
    """Return the longest text of a detail with this name."""
    return LONGEST_REASON if detail == "reason" else LONGEST_DETAIL
