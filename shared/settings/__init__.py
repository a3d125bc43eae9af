"""Every setting of Naru: its variable, default, unit and bounds; and the checks of settings that depend on each other.

The only module that reads the environment; `clients.py` declares the bounds on clients. Nothing is read at import:
entry points call `load_settings()` once and pass the value on. Any variable may be given as `X_FILE`, the path of a
file that holds it (mounted secrets). `deploy/` decides which processes are started with which settings.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from shared.addresses import complaint
from shared.errors import SettingsError
from shared.keys import LEAST_BYTES, is_strong, keys_in
from shared.settings.clients import ClientBounds
from shared.settings.field import LAST_PORT, setting
from shared.vendors import WITH_KEY

#: Variables that other software names too keep their usual names; all others begin with NARU_.
PLAIN_NAMES = {"database_url", "redis_url", *(name for vendor in WITH_KEY for name in vendor.settings)}
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ClientBounds):
    """All settings of one process, read once and never changed. Durations are in seconds."""

    database_url: str = setting(
        "", "Postgres, as postgresql://user:password@host:port/name", secret=True, kind="postgres"
    )
    listen_database_url: str = setting(
        "", "A direct connection for LISTEN where DATABASE_URL is a pooler", secret=True, kind="postgres"
    )
    redis_url: str = setting("", "Redis, as redis://:password@host:port/0", secret=True, kind="redis")
    secret_key: str = setting(
        "",
        "Signs the browsers' cookies, the same for every web process; of several keys, newest first, all verify",
        secret=True,
    )

    openai_api_key: str = setting("", "Key of OpenAI or of a compatible server", secret=True, kind="key")
    openai_base_url: str = setting(
        "", "Address of an OpenAI-compatible server (vLLM, LM Studio, a gateway)", kind="http"
    )
    anthropic_api_key: str = setting("", "Key of Anthropic", secret=True, kind="key")
    anthropic_base_url: str = setting("", "Address of an Anthropic-compatible server", kind="http")
    ollama_url: str = setting("http://127.0.0.1:11434", "Where Ollama is looked for; `off` disables it", kind="ollama")
    simulator_url: str = setting("", "Address of the demo simulator; `up` sets it when no model is there", kind="http")
    models: str = setting("", "What is offered, as provider/model, comma-separated; empty: current defaults")
    prices: str = setting("", "Dollars per million tokens, as provider/model=input/output[/cached], comma-separated")
    system_prompt: str = setting("", "What every model is told before the conversation")

    host: str = setting("127.0.0.1", "Address that the page listens on")
    port: int = setting(8501, "Port of the page", least=0, most=LAST_PORT)
    domain: str = setting("", "Public name of the page, which it answers to; compose sets it", kind="hosts")
    allowed_hosts: str = setting(
        "",
        "Further names that the page answers to: chat.example.org, .example.org for a domain and all below, * for any",
        kind="hosts",
    )
    secure_cookies: bool = setting(False, "Mark cookies Secure also when the request came by plain HTTP")
    hsts_seconds: int = setting(
        63_072_000, "How long a browser that came by TLS remembers to come by TLS only; 0: not at all", least=0
    )
    concurrency: int = setting(320, "Answers that one worker process carries at once", least=1)
    worker_metrics_host: str = setting("127.0.0.1", "Address of a worker's /metrics, /healthz, /readyz")
    worker_metrics_port: int = setting(0, "Its port; 0: any free one, -1: none", least=-1, most=LAST_PORT)
    database_pool: int = setting(10, "Postgres connections of one process, beside its listening one", least=2)

    lease_seconds: float = setting(6.0, "A worker that has not renewed for this long is lost", least=0.2)
    renew_seconds: float = setting(1.5, "How often a worker renews its lease", least=0.05)
    stall_seconds: float = setting(
        3.0, "A worker whose event loop stands still for this long renews no more", least=0.1
    )
    tick_seconds: float = setting(0.5, "How often each process reconciles", least=0.05)
    checkpoint_seconds: float = setting(5.0, "How often running text is written to Postgres", least=0.1)
    degraded_checkpoint_seconds: float = setting(1.0, "The same while Redis is away", least=0.1)
    broker_silence_seconds: float = setting(3.0, "After this long without Redis workers look at Postgres", least=0.1)
    stop_patience_seconds: float = setting(3.0, "A stop that no worker answers is carried out by web", least=0.1)
    storage_patience_seconds: float = setting(120.0, "How long a finished answer waits for Postgres", least=0.1)

    first_token_seconds: float = setting(120.0, "Longest wait for a model's first word", least=0.05)
    idle_seconds: float = setting(60.0, "Longest silence within an answer", least=0.05)
    total_seconds: float = setting(900.0, "Longest time one attempt may take", least=0.1)
    deadline_seconds: float = setting(1800.0, "Longest life of a request, waiting included", least=0.1)
    max_tries: int = setting(5, "How often a provider's refusal is tried again", least=0)
    retry_after_limit_seconds: float = setting(120.0, "Longest wait that a provider may ask for", least=0.1)
    max_output_tokens: int = setting(0, "Longest answer in tokens; 0: the model's own limit", least=0)
    grace_seconds: float = setting(20.0, "How long a worker that is told to stop lets its answers finish", least=0.0)

    wedged_seconds: float = setting(
        60.0, "A worker whose /healthz is bad for this long ends, to be started again; 0: never", least=0.0
    )

    web_wedged_seconds: float = setting(
        10.0, "A web process whose /healthz is bad for this long ends, to be started again; 0: never", least=0.0
    )
    web_check_seconds: float = setting(
        4.0,
        "How often a web process runs a page by itself, to see that pages run; a third as often while nobody looks",
        least=0.1,
    )

    flush_seconds: float = setting(
        0.02, "How often waiting text is sent to Redis; up to half longer where a worker is busy", least=0.001
    )
    stream_seconds: int = setting(900, "How long a live stream is kept in Redis", least=10)
    ended_stream_seconds: int = setting(120, "How long it is kept after its end", least=1)
    redis_timeout_seconds: float = setting(1.0, "Longest wait for Redis where a person or an answer waits", least=0.05)
    log_level: str = setting("INFO", "DEBUG, INFO, WARNING or ERROR")

    backup_dir: str = setting("", "Where backups are kept; empty: backups/ in the data folder")
    backup_key: str = setting(
        "", "Encrypts the backups: `./naru backup --new-key FILE` makes one; give it as a file", secret=True, kind="key"
    )
    backup_keep_daily: int = setting(7, "Of so many days the newest backup is kept", least=0)
    backup_keep_weekly: int = setting(4, "Of so many weeks", least=0)
    backup_keep_monthly: int = setting(12, "Of so many months", least=0)
    backup_seconds: float = setting(14_400.0, "Longest time that a backup, a restore or a drill may take", least=1.0)
    backup_metrics_dir: str = setting("", "Folder of node exporter's textfile collector; empty: that of the backups")
    backup_s3_endpoint: str = setting("", "Where backups are copied to: the address of an S3 server", kind="http")
    backup_s3_bucket: str = setting("", "Its bucket")
    backup_s3_prefix: str = setting("naru/", "What the names in the bucket begin with")
    backup_s3_region: str = setting("us-east-1", "Its region")
    backup_s3_access_key: str = setting("", "Access key of the bucket", secret=True, kind="key")
    backup_s3_secret_key: str = setting("", "Secret key of the bucket", secret=True, kind="key")

    def check(self) -> None:
        """Raise SettingsError when two settings do not fit each other; the sentence says which and why."""
        rules = [
            *self.client_rules(),
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
                "NARU_TICK_SECONDS must be at most 1: after 2 s without a tick nobody is marked lost",
            ),
            (
                self.log_level.upper() in ("DEBUG", "INFO", "WARNING", "ERROR"),
                f"NARU_LOG_LEVEL is {self.log_level!r}, which is not DEBUG, INFO, WARNING or ERROR",
            ),
            (
                self.stall_seconds <= self.lease_seconds,
                "NARU_STALL_SECONDS must not exceed NARU_LEASE_SECONDS",
            ),
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
                self.retry_after_limit_seconds <= self.deadline_seconds,
                "NARU_RETRY_AFTER_LIMIT_SECONDS must not exceed NARU_DEADLINE_SECONDS",
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
        broken = [sentence for holds, sentence in rules if not holds]
        if broken:
            raise SettingsError("; ".join(broken) + ".")

    def need(self, *names: str) -> None:
        """Raise SettingsError naming the first of `names` that is empty: each process needs others."""
        for name in names:
            if not getattr(self, name):
                raise SettingsError(f"{variable_of(name)} is not set. Set it, or start with ./naru up, which sets it.")


STRONGER_KEY = (
    "Make a longer one (openssl rand -hex 32) and put it and a comma before the old one, "
    "which still verifies: nobody loses a conversation"
)

#: The Redis transport gives an unacknowledged message to someone else after this time. Hints are
#: acknowledged before they are worked on, so nothing of ours lives that long; the check keeps it so.
VISIBILITY_TIMEOUT_SECONDS = 3600


#: After the grace time a worker hands over what is left and closes within this; whoever may kill it waits longer.
CLOSE_SECONDS = 10.0


def variable_of(name: str) -> str:
    """The environment variable of the setting `name`."""
    return name.upper() if name in PLAIN_NAMES else f"NARU_{name.upper()}"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read, parse and check all settings. Raises SettingsError naming the variable and what it should be."""
    source = os.environ if environ is None else environ
    values = {each.name: _value_of(each, source) for each in fields(Settings)}
    settings = Settings(**{name: value for name, value in values.items() if value is not None})
    settings.check()
    return settings


def environment() -> dict[str, str]:
    """A copy of this process's environment, for starting another process with it."""
    return dict(os.environ)


def _value_of(each: Field[Any], source: Mapping[str, str]) -> Any:
    variable = variable_of(each.name)
    text = _raw(variable, source)
    if text is None or (text == "" and each.type != "str"):
        return None
    try:
        value = _PARSERS[str(each.type)](text)
    except ValueError:
        raise SettingsError(f"{variable} is {_shown(text)}, which is not {_KINDS[str(each.type)]}.") from None
    if isinstance(value, str):
        _check_text(variable, each, value)
        return value
    least, most = each.metadata["least"], each.metadata["most"]
    if least is not None and value < least:
        raise SettingsError(f"{variable} is {text}; the least is {least:g}.")
    if value > most:
        raise SettingsError(f"{variable} is {text}; the most is {most:,}.")
    return value


def _check_text(variable: str, each: Field[Any], text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"{variable} is not UTF-8.") from None
    if why := complaint(each.metadata["kind"], text) if each.metadata["kind"] else None:
        # Never the value: most of these hold a password.
        raise SettingsError(f"{variable} is {why}.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _raw(variable: str, source: Mapping[str, str]) -> str | None:
    path = source.get(f"{variable}_FILE")
    # Empty is unset: compose passes on `X: ${X:-}` beside a mounted X_FILE.
    if not path or source.get(variable):
        return source.get(variable)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"{variable}_FILE names {path}, which cannot be read: {reason}.") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _boolean(text: str) -> bool:
    known = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if text.strip().lower() not in known:
        raise ValueError(text)
    return known[text.strip().lower()]


_PARSERS: dict[str, Callable[[str], Any]] = {"str": str.strip, "int": int, "float": _finite, "bool": _boolean}
_KINDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
