"""`Settings`: all groups in one class, and the rules between settings."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.addresses import addresses_in, is_audit_log, server_of
from shared.errors import SettingsError
from shared.keys import LEAST_BYTES, is_strong, keys_in
from shared.settings.answers import VISIBILITY_TIMEOUT_SECONDS, Answers
from shared.settings.backups import Backups
from shared.settings.clients import ConnectionBounds, PageBounds, QuestionBounds
from shared.settings.field import Rule, variable_of
from shared.settings.keeping import Keeping
from shared.settings.live import Live
from shared.settings.mail import NO_TLS, STARTTLS, TLS, Mail
from shared.settings.openid import OpenId
from shared.settings.people import (
    ADMINS,
    EVERYONE,
    GUEST,
    INVITATION,
    LOCAL,
    LOCAL_OIDC,
    OIDC,
    OPEN,
    OPTIONAL,
    People,
)
from shared.settings.processes import Processes
from shared.settings.providers import Providers
from shared.settings.servers import Servers
from shared.settings.spending import ALLOW, CURRENCY, REFUSE, Spending
from shared.settings.web import STRONGER_KEY, Web
from shared.settings.worker import Worker


@dataclass(frozen=True, kw_only=True)
class Settings(
    Servers,
    Providers,
    Web,
    Worker,
    Answers,
    Processes,
    Live,
    Keeping,
    Backups,
    People,
    Spending,
    OpenId,
    Mail,
    QuestionBounds,
    ConnectionBounds,
    PageBounds,
):
    """All settings of one process, read once and never changed. Durations are in seconds.

    README's table lists the groups in the order of the bases.
    """

    def check(self) -> None:
        """Raise SettingsError when settings contradict each other; the message says which and why."""
        people = [*self._client_rules(), *self._people_rules(), *self._spending_rules(), *self.openid_rules()]
        rules = [*people, *self._mail_rules(), *self._process_rules(), *self._answer_rules(), *self._other_rules()]
        _refuse(rules)

    def need(self, *names: str) -> None:
        """Raise SettingsError for the first of `names` that is empty. Processes need different settings."""
        for name in names:
            if not getattr(self, name):
                raise SettingsError(f"{variable_of(name)} is not set. Set it, or start with ./naru up, which sets it.")

    def need_openid(self) -> None:
        """Raise SettingsError when company sign-in is on and lacks a setting. Only the processes that offer it ask."""
        if self.has_openid:
            _refuse(self.openid_needs())

    def _client_rules(self) -> list[Rule]:
        return [
            (
                self.socket_message_bytes >= 4 * self.max_question_characters + 65_536,
                (
                    "NARU_SOCKET_MESSAGE_BYTES must be at least 4 x NARU_MAX_QUESTION_CHARACTERS + 65536: "
                    "the longest question has to fit into one message"
                ),
            ),
            (
                self.personal_data in ("send", "warn", "block"),
                f"NARU_PERSONAL_DATA is {self.personal_data!r}, which is not send, warn or block",
            ),
            (
                self.socket_message_burst >= 2 + self.socket_message_bytes / 8192,
                (
                    "NARU_SOCKET_MESSAGE_BURST must be at least 2 + NARU_SOCKET_MESSAGE_BYTES / 8192: "
                    "the longest message has to fit into the burst"
                ),
            ),
        ]

    def _people_rules(self) -> list[Rule]:
        return [
            (
                self.auth in (GUEST, LOCAL, OIDC, LOCAL_OIDC),
                f"NARU_AUTH is {self.auth!r}, which is not guest, local, oidc or local+oidc",
            ),
            (
                self.sign_up in (INVITATION, OPEN),
                f"NARU_SIGN_UP is {self.sign_up!r}, which is not invitation or open",
            ),
            (
                self.session_idle_days <= self.session_days,
                "NARU_SESSION_IDLE_DAYS must not exceed NARU_SESSION_DAYS",
            ),
            (
                self.second_factor in (OPTIONAL, ADMINS, EVERYONE),
                f"NARU_SECOND_FACTOR is {self.second_factor!r}, which is not optional, admins or everyone",
            ),
        ]

    def _mail_rules(self) -> list[Rule]:
        return [
            (
                self.smtp_security in (STARTTLS, TLS, NO_TLS),
                f"NARU_SMTP_SECURITY is {self.smtp_security!r}, which is not starttls, tls or none",
            ),
        ]

    def _spending_rules(self) -> list[Rule]:
        return [
            (
                CURRENCY.fullmatch(self.currency) is not None and not self.currency.endswith("=0"),
                f"NARU_CURRENCY is {self.currency!r}, which is not USD, or a code and the price of a dollar: KRW=1400",
            ),
            (
                self.unknown_price in (ALLOW, REFUSE),
                f"NARU_UNKNOWN_PRICE is {self.unknown_price!r}, which is not allow or refuse",
            ),
            (
                _is_time_zone(self.time_zone),
                f"NARU_TIME_ZONE is {self.time_zone!r}, which is not a time zone such as UTC or Asia/Seoul",
            ),
        ]

    def _process_rules(self) -> list[Rule]:
        return [
            (
                self.renew_seconds * 3 <= self.lease_seconds,
                "NARU_LEASE_SECONDS must be at least 3 x NARU_RENEW_SECONDS: a lease has to survive two lost renewals",
            ),
            (
                self.tick_seconds <= self.lease_seconds / 2,
                "NARU_TICK_SECONDS must be at most half of NARU_LEASE_SECONDS: a lost worker is noticed by a tick",
            ),
            (
                self.tick_seconds <= 1,
                "NARU_TICK_SECONDS must be at most 1: after 2 s without a tick no worker is marked lost",
            ),
            (
                self.log_level.upper() in ("DEBUG", "INFO", "WARNING", "ERROR"),
                f"NARU_LOG_LEVEL is {self.log_level!r}, which is not DEBUG, INFO, WARNING or ERROR",
            ),
            (
                self.stall_seconds <= self.lease_seconds,
                "NARU_STALL_SECONDS must not exceed NARU_LEASE_SECONDS",
            ),
        ]

    def _answer_rules(self) -> list[Rule]:
        return [
            (self.idle_seconds <= self.total_seconds, "NARU_IDLE_SECONDS must not exceed NARU_TOTAL_SECONDS"),
            (
                self.first_token_seconds <= self.total_seconds,
                "NARU_FIRST_TOKEN_SECONDS must not exceed NARU_TOTAL_SECONDS",
            ),
            (
                self.total_seconds <= self.deadline_seconds,
                "NARU_TOTAL_SECONDS must not exceed NARU_DEADLINE_SECONDS: no attempt may outlive its request",
            ),
            (
                self.deadline_seconds < VISIBILITY_TIMEOUT_SECONDS,
                f"NARU_DEADLINE_SECONDS must be below {VISIBILITY_TIMEOUT_SECONDS}, the broker's visibility timeout",
            ),
            (
                self.grace_seconds <= self.total_seconds,
                "NARU_GRACE_SECONDS must not exceed NARU_TOTAL_SECONDS: no answer takes longer",
            ),
            (
                self.unserved_seconds >= self.lease_seconds,
                "NARU_UNSERVED_SECONDS must be at least NARU_LEASE_SECONDS: a live worker renews once in that time",
            ),
            (
                self.retry_after_limit_seconds <= self.deadline_seconds,
                "NARU_RETRY_AFTER_LIMIT_SECONDS must not exceed NARU_DEADLINE_SECONDS",
            ),
        ]

    def _other_rules(self) -> list[Rule]:
        servers = [server_of(url) for url in addresses_in(self.live_redis_urls)]
        twice = next((each for each in servers if servers.count(each) > 1), "")
        return [
            (
                is_audit_log(self.audit_log),
                (f"NARU_AUDIT_LOG is {self.audit_log!r}, which is not off, stdout, syslog:HOST:PORT or syslog:/PATH"),
            ),
            (
                not twice,
                (
                    f"NARU_LIVE_REDIS_URLS names the server {twice} twice. Remove one of them: a second address, or "
                    "another database, of one server carries no more"
                ),
            ),
            (
                not self.secret_key or is_strong(next(iter(keys_in(self.secret_key)), "")),
                f"NARU_SECRET_KEY begins with a key shorter than {LEAST_BYTES} bytes. {STRONGER_KEY}",
            ),
            (
                self.ended_stream_seconds <= self.stream_seconds,
                "NARU_ENDED_STREAM_SECONDS must not exceed NARU_STREAM_SECONDS",
            ),
        ]


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _refuse(rules: list[Rule]) -> None:
    broken = [sentence for holds, sentence in rules if not holds]
    if broken:
        raise SettingsError("; ".join(broken) + ".")
