"""Company sign-in: the provider of OpenID Connect, who of its people may enter, and with which role."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.settings.field import Rule, setting, variable_of

#: Admits everyone whom the provider signs in.
ANYONE = "*"
#: The roles that groups can give, the strongest first. Everybody else is a `user`.
MAPPED_ROLES = ("admin", "auditor")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class OpenId:
    """Settings of `NARU_AUTH=oidc` and `local+oidc`. Lists are separated by commas, since names may hold spaces."""

    oidc_issuer: str = setting(
        "", "Company sign-in: the provider's address, below which /.well-known/openid-configuration is", kind="http"
    )
    oidc_client_id: str = setting("", "Company sign-in: the id under which the provider knows Naru")
    oidc_client_secret: str = setting("", "Company sign-in: the secret that belongs to the id", secret=True, kind="key")
    oidc_allowed_groups: str = setting(
        "", "Company sign-in: who may enter: groups, separated by commas, or * for everyone whom the provider signs in"
    )
    oidc_roles: str = setting(
        "", "Company sign-in: the roles of groups: admin=naru-admins,auditor=naru-audit; all others are users"
    )
    oidc_groups_claim: str = setting("groups", "Company sign-in: the claim that holds a person's groups")
    oidc_scopes: str = setting("openid email profile", "Company sign-in: what Naru asks the provider for")
    oidc_button: str = setting("", "Company sign-in: the text of the button; empty: Sign in with your company account")
    oidc_clock_skew_seconds: int = setting(
        60, "Company sign-in: how far the provider's clock may be from Naru's", least=0, most=300
    )
    oidc_seconds: float = setting(10.0, "Company sign-in: longest wait for one answer of the provider", least=0.1)

    @property
    def allowed_groups(self) -> frozenset[str] | None:
        """The groups that may enter; None admits everyone."""
        names = _names_in(self.oidc_allowed_groups)
        return None if ANYONE in names else frozenset(names)

    @property
    def roles_of_groups(self) -> dict[str, str]:
        """The role that each group gives; a group with two has the stronger one."""
        pairs = [each.partition("=") for each in _names_in(self.oidc_roles)]
        strongest_last = sorted(pairs, key=lambda pair: MAPPED_ROLES[::-1].index(pair[0].strip()))
        return {group.strip(): role.strip() for role, _, group in strongest_last}

    def openid_rules(self) -> list[Rule]:
        """Return the rules for values that were given. `openid_needs` has those for missing ones."""
        pairs = [each.partition("=") for each in _names_in(self.oidc_roles)]
        issuer = urlsplit(self.oidc_issuer)
        return [
            (
                issuer.scheme != "http" or issuer.hostname in _LOOPBACK,
                "NARU_OIDC_ISSUER must begin with https://: over http:// anyone on the way could sign in as anybody",
            ),
            (
                not issuer.query and not issuer.fragment and not self.oidc_issuer.endswith("/openid-configuration"),
                "NARU_OIDC_ISSUER is more than the issuer: leave out /.well-known/openid-configuration, ? and #",
            ),
            (
                all(role.strip() in MAPPED_ROLES and group.strip() for role, _, group in pairs),
                "NARU_OIDC_ROLES is not a list like admin=naru-admins,auditor=naru-audit",
            ),
            (
                "openid" in self.oidc_scopes.split(),
                f"NARU_OIDC_SCOPES is {self.oidc_scopes!r}, which lacks openid: without it there is no sign-in",
            ),
            (bool(self.oidc_groups_claim), "NARU_OIDC_GROUPS_CLAIM is empty: name the claim, such as groups"),
        ]

    def openid_needs(self) -> list[Rule]:
        """Return the rules for what a process that signs people in cannot do without."""
        needed = ("oidc_issuer", "oidc_client_id", "oidc_client_secret")
        missing = [variable_of(name) for name in needed if not getattr(self, name)]
        return [
            (not missing, f"NARU_AUTH asks for company sign-in, but {' and '.join(missing)} is not set"),
            (
                bool(_names_in(self.oidc_allowed_groups)),
                (
                    "NARU_OIDC_ALLOWED_GROUPS is not set: name the groups that may enter, or * for everyone whom the "
                    "provider signs in"
                ),
            ),
        ]


def _names_in(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
