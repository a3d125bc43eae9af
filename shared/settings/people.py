"""Accounts and sessions: sign-in, sign-up and their limits."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting

GUEST, LOCAL = "guest", "local"
INVITATION, OPEN = "invitation", "open"


@dataclass(frozen=True, kw_only=True)
class People:
    """Settings of accounts and sessions. The first account always needs an invitation, and is an administrator's."""

    auth: str = setting(
        GUEST, "Who may use the page: guest (anyone; a cookie tells browsers apart) or local (people with an account)"
    )
    open_to_anyone: bool = setting(
        False, "Serve guests on an address that other machines reach: whoever reaches the page uses your keys"
    )
    sign_up: str = setting(INVITATION, "How people get an account: invitation, or open (anyone who reaches the page)")
    session_idle_days: int = setting(14, "A session ends after this many days without a visit", least=1, most=3650)
    session_days: int = setting(90, "A session ends this many days after the sign-in", least=1, most=3650)
    invitation_days: int = setting(7, "An invitation is valid for this many days", least=1, most=365)
    password_link_hours: int = setting(24, "A link to a new password is valid for this many hours", least=1, most=720)
    debug_panel: bool = setting(
        False, "Show administrators what each of their answers took, and what their session holds"
    )
    sign_in_failures: int = setting(
        10, "Failed attempts to sign in to one account in 15 minutes; three times as many from one address", least=1
    )
