"""Accounts and sessions: sign-in, sign-up and their limits."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting

GUEST, LOCAL, OIDC, LOCAL_OIDC = "guest", "local", "oidc", "local+oidc"
INVITATION, OPEN = "invitation", "open"
#: The values of `second_factor`.
OPTIONAL, ADMINS, EVERYONE = "optional", "admins", "everyone"


@dataclass(frozen=True, kw_only=True)
class People:
    """Settings of accounts and sessions. The first account always needs an invitation, and is an administrator's."""

    auth: str = setting(
        GUEST,
        "Who may use the page: guest (anyone; a cookie tells browsers apart), local (people with a password), oidc "
        "(people of your company's provider) or local+oidc",
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
    second_factor: str = setting(
        OPTIONAL, "Who needs a code from an app besides the password: optional (nobody has to), admins, or everyone"
    )
    guest_link_days: int = setting(
        90, "A guest's link to their chats is valid for this many days; 0: guests can make none", least=0, most=3650
    )

    @property
    def has_passwords(self) -> bool:
        """Whether people sign in with a password of ours."""
        return self.auth in (LOCAL, LOCAL_OIDC)

    @property
    def has_openid(self) -> bool:
        """Whether people sign in with a provider of OpenID Connect."""
        return self.auth in (OIDC, LOCAL_OIDC)
