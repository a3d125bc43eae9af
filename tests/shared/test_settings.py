"""Tests of settings: every variable is read, an error names the invalid one, and contradictions are refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import PLAIN_NAMES, Settings, environment, load_settings, variable_of

FIELDS = {each.name: each for each in fields(Settings)}
#: For each type, a value that is no field's default; SPECIAL overrides it for fields with a check or a bound.
SAMPLES = {"str": ("some text", "some text"), "int": ("17", 17), "float": ("2.5", 2.5), "bool": ("yes", True)}
SPECIAL = {
    "log_level": ("DEBUG", "DEBUG"),
    "personal_data": ("warn", "warn"),
    "auth": ("local", "local"),
    "currency": ("KRW=1400", "KRW=1400"),
    "unknown_price": ("refuse", "refuse"),
    "time_zone": ("Asia/Seoul", "Asia/Seoul"),
    "keep_spending_days": ("31", 31),
    "sign_up": ("open", "open"),
    "oidc_issuer": ("https://id.example/realms/a", "https://id.example/realms/a"),
    "oidc_client_secret": ("s3cret", "s3cret"),
    "oidc_roles": ("admin=Naru Admins, auditor=audit", "admin=Naru Admins, auditor=audit"),
    "oidc_scopes": ("openid groups", "openid groups"),
    "keep_audit_days": ("90", 90),
    "audit_log": ("syslog:[::1]:5140", "syslog:[::1]:5140"),
    "second_factor": ("admins", "admins"),
    "smtp_security": ("tls", "tls"),
    "socket_message_bytes": ("200000", 200_000),
    "socket_state_bytes": ("20000", 20_000),
    "socket_message_burst": ("60.5", 60.5),
    "stream_seconds": ("1000", 1000),
    "tick_seconds": ("0.7", 0.7),
    "renew_seconds": ("1.25", 1.25),
    "total_seconds": ("400.5", 400.5),
    "deadline_seconds": ("2000.5", 2000.5),
    "lease_seconds": ("7.5", 7.5),
    "unserved_seconds": ("30.5", 30.5),
    "database_url": ("postgresql://a:b#c@d:1/e", "postgresql://a:b#c@d:1/e"),
    "listen_database_url": ("postgres://[::1]:5432/e", "postgres://[::1]:5432/e"),
    "live_redis_urls": ("redis://:a@b:1/0, rediss://c", "redis://:a@b:1/0, rediss://c"),
    "redis_url": ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    "secret_key": ("new-" * 10 + ", old", "new-" * 10 + ", old"),
    "openai_api_key": ("sk-1", "sk-1"),
    "anthropic_api_key": ("sk-2", "sk-2"),
    **dict.fromkeys(("backup_key", "backup_s3_access_key", "backup_s3_secret_key"), ("0f-key", "0f-key")),
    "backup_s3_endpoint": ("https://s3.a.b", "https://s3.a.b"),
    **dict.fromkeys(("openai_base_url", "anthropic_base_url"), ("https://a.b/v1", "https://a.b/v1")),
    **dict.fromkeys(("ollama_url", "simulator_url"), ("http://[::1]:80", "http://[::1]:80")),
}


@pytest.mark.parametrize("name", FIELDS)
def test_settings_are_read_from_their_variables(name: str) -> None:
    text, value = SPECIAL.get(name, SAMPLES[str(FIELDS[name].type)])
    assert FIELDS[name].default != value
    assert getattr(load_settings({variable_of(name): f" {text} "}), name) == value
    assert getattr(load_settings({}), name) == FIELDS[name].default
    assert FIELDS[name].metadata["doc"]


@pytest.mark.parametrize("name", FIELDS)
def test_settings_are_read_from_files(name: str, tmp_path: Path) -> None:
    text, value = SPECIAL.get(name, SAMPLES[str(FIELDS[name].type)])
    (tmp_path / "secret").write_text(text + "\n")
    variable = variable_of(name)
    assert getattr(load_settings({f"{variable}_FILE": str(tmp_path / "secret")}), name) == value
    both = {f"{variable}_FILE": "/nowhere", variable: text}
    assert getattr(load_settings(both), name) == value, "the variable itself takes precedence"


@pytest.mark.parametrize("name", [name for name, each in FIELDS.items() if each.type != "str"])
@pytest.mark.parametrize("text", ["many", "1,5", "0x10", "--1", "nan", "inf"])
def test_settings_error_names_the_invalid_value(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({variable_of(name): text})
    assert variable_of(name) in str(refused.value)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("name", [name for name, each in FIELDS.items() if each.metadata["least"] is not None])
def test_settings_error_names_the_minimum(name: str) -> None:
    least = FIELDS[name].metadata["least"]
    text = str(int(least) - 1) if FIELDS[name].type == "int" else str(least - 0.001)
    with pytest.raises(SettingsError, match=f"{variable_of(name)} is {text}; the minimum is {least:g}"):
        load_settings({variable_of(name): text})


@pytest.mark.parametrize("name", [name for name, each in FIELDS.items() if each.metadata["least"] is not None])
@pytest.mark.parametrize("text", ["2000000000", "9" * 4000])
def test_settings_error_names_an_overflow(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable_of(name)} is ") as refused:
        load_settings({variable_of(name): text})
    assert ".." not in str(refused.value)


SENSELESS = {
    "postgres": [
        *("here", "mysql://u@h/d", "postgresql://u:pass@h:x/d", "postgresql://u:pass@h:99999/d"),
        *("postgresql://u:pass%zz@h/d", "postgresql://u:pa/ss@h/d", "postgresql://u:pa@ss@h/d", "postgresql://[::1/d"),
        *("postgresql://u:pass@h\n/d", "postgresql://u:pass@h:1,i:99999/d?target_session_attrs=read-write"),
        *("postgresql://u:pass@h,i/d", "postgresql://u:pass@h,i/d?target_session_attrs=any"),
        *("postgresql://u:pass@/d?host=h,i", "postgresql://u:pass@h,,:/d?sslmode=require"),
    ],
    "redis": ["here", "http://:pass@h", "redis://:pass@h:x", "redis://:pass@h:99999", "redis://[::1", "redis://"],
    "redis_list": ["here", "redis://h, http://:pass@h", "redis://:pass@h:x"],
    "http": ["here", "ftp://h", "http://", "http://[::1", "http://h:x", "http://h h", "http://나루"],
    "ollama": ["on", "http://h:x"],
    "hosts": ["https://chat.example.org", "chat.example.org:443", "a/b", "a..b", "a b@c", "!", "*.", "fe80::1%eth0"],
    "key": ["two keys", "line\nbreak", "키", "\x1b[31m"],
}


@pytest.mark.parametrize("name", [name for name, each in FIELDS.items() if each.metadata["kind"]])
def test_error_names_an_invalid_value_without_showing_it(name: str) -> None:
    for text in SENSELESS[FIELDS[name].metadata["kind"]]:
        with pytest.raises(SettingsError, match=f"^{variable_of(name)} is not a .+[.]$") as refused:
            load_settings({variable_of(name): text})
        assert not any(secret in str(refused.value) for secret in ("pass@", "pa/ss", "pa@ss", "keys", "break", "키"))


@pytest.mark.parametrize("name", [name for name, each in FIELDS.items() if each.type == "str"])
def test_error_names_text_that_is_not_utf_8(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable_of(name)} is not UTF-8"):
        load_settings({variable_of(name): "a\udcffb"})


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("TRUE", True), ("On", True), ("yes", True), ("0", False), ("false", False), ("OFF", False)],
)
def test_booleans_accept_the_usual_spellings(text: str, *, value: bool) -> None:
    assert load_settings({"NARU_SECURE_COOKIES": text}).secure_cookies is value


@pytest.mark.parametrize("name", [name for name, each in FIELDS.items() if each.type != "str"])
def test_empty_number_means_its_default(name: str) -> None:
    assert getattr(load_settings({variable_of(name): ""}), name) == FIELDS[name].default


def test_empty_text_stays_empty(tmp_path: Path) -> None:
    assert load_settings({"NARU_OLLAMA_URL": ""}).ollama_url == ""


@pytest.mark.parametrize("how", ["not there", "a folder", "not text"])
def test_error_names_an_unreadable_file(how: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    if how == "a folder":
        path.mkdir()
    if how == "not text":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError) as refused:
        load_settings({"NARU_SECRET_KEY_FILE": str(path)})
    assert "NARU_SECRET_KEY_FILE" in str(refused.value)
    assert str(path) in str(refused.value)


def test_file_replaces_an_empty_variable(tmp_path: Path) -> None:
    """Compose turns `X: ${X:-}` into an empty X beside a mounted X_FILE; the reverse happens too."""
    (tmp_path / "key").write_text("sk-1")
    file = {"OPENAI_API_KEY": "", "OPENAI_API_KEY_FILE": str(tmp_path / "key")}
    assert load_settings(file).openai_api_key == "sk-1"
    assert load_settings({"OPENAI_API_KEY": "sk-2", "OPENAI_API_KEY_FILE": ""}).openai_api_key == "sk-2"
    assert load_settings({"OPENAI_API_KEY_FILE": ""}).openai_api_key == ""


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"lease_seconds": 4}, "NARU_LEASE_SECONDS"),
        ({"lease_seconds": 1.5, "renew_seconds": 0.5, "tick_seconds": 0.8}, "NARU_TICK_SECONDS"),
        ({"lease_seconds": 60, "tick_seconds": 2}, "NARU_TICK_SECONDS"),
        ({"stall_seconds": 6.5}, "NARU_STALL_SECONDS"),
        ({"idle_seconds": 901}, "NARU_IDLE_SECONDS"),
        ({"first_token_seconds": 901}, "NARU_FIRST_TOKEN_SECONDS"),
        ({"total_seconds": 1801}, "NARU_TOTAL_SECONDS"),
        ({"deadline_seconds": 3600}, "NARU_DEADLINE_SECONDS"),
        ({"retry_after_limit_seconds": 1801}, "NARU_RETRY_AFTER_LIMIT_SECONDS"),
        ({"ended_stream_seconds": 901}, "NARU_ENDED_STREAM_SECONDS"),
        ({"log_level": "loud"}, "NARU_LOG_LEVEL"),
        ({"secret_key": "s" * 31}, "NARU_SECRET_KEY"),
        ({"secret_key": "short," + "l" * 40}, "NARU_SECRET_KEY"),
        ({"secret_key": ", ,"}, "NARU_SECRET_KEY"),
        ({"unserved_seconds": 5}, "NARU_UNSERVED_SECONDS"),
        ({"auth": "oidc,local"}, "NARU_AUTH"),
        ({"oidc_issuer": "http://id.example"}, "NARU_OIDC_ISSUER must begin with https"),
        ({"oidc_issuer": "https://id.example/.well-known/openid-configuration"}, "NARU_OIDC_ISSUER is more"),
        ({"oidc_issuer": "https://id.example?tenant=1"}, "NARU_OIDC_ISSUER is more"),
        ({"oidc_roles": "naru-admins"}, "NARU_OIDC_ROLES"),
        ({"oidc_roles": "admin="}, "NARU_OIDC_ROLES"),
        ({"oidc_roles": "user=everyone"}, "NARU_OIDC_ROLES"),
        ({"oidc_scopes": "email profile"}, "NARU_OIDC_SCOPES"),
        ({"second_factor": "nobody"}, "NARU_SECOND_FACTOR"),
        ({"smtp_security": "ssl"}, "NARU_SMTP_SECURITY"),
    ],
)
def test_settings_reject_contradictions(values: dict[str, object], named: str) -> None:
    environ = {variable_of(name): str(value) for name, value in values.items()}
    with pytest.raises(SettingsError, match=named):
        load_settings(environ)


def test_settings_report_all_contradictions_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"NARU_STALL_SECONDS": "7", "NARU_ENDED_STREAM_SECONDS": "901"})
    assert "NARU_STALL_SECONDS" in str(refused.value)
    assert "NARU_ENDED_STREAM_SECONDS" in str(refused.value)


def test_process_names_its_missing_settings() -> None:
    settings = load_settings({"DATABASE_URL": "postgresql://x"})
    settings.need("database_url")
    with pytest.raises(SettingsError, match="REDIS_URL is not set"):
        settings.need("database_url", "redis_url")
    with pytest.raises(SettingsError, match="NARU_SECRET_KEY is not set"):
        settings.need("secret_key")


def test_company_sign_in_names_what_is_missing() -> None:
    load_settings({"NARU_AUTH": "local"}).need_openid()
    complete = {
        "NARU_AUTH": "local+oidc",
        "NARU_OIDC_ISSUER": "https://id.example",
        "NARU_OIDC_CLIENT_ID": "naru",
        "NARU_OIDC_CLIENT_SECRET": "s3cret",
        "NARU_OIDC_ALLOWED_GROUPS": "*",
    }
    load_settings(complete).need_openid()
    for name in list(complete)[1:]:
        with pytest.raises(SettingsError, match=f"{name} is not set"):
            load_settings({**complete, name: ""}).need_openid()


def test_stronger_role_of_a_group_counts() -> None:
    settings = load_settings({"NARU_OIDC_ROLES": "admin=a, auditor=a,auditor=b b"})
    assert settings.roles_of_groups == {"a": "admin", "b b": "auditor"}
    assert load_settings({"NARU_OIDC_ALLOWED_GROUPS": "a, b b"}).allowed_groups == frozenset({"a", "b b"})
    assert load_settings({"NARU_OIDC_ALLOWED_GROUPS": "*"}).allowed_groups is None


def test_settings_repr_hides_secrets() -> None:
    forms = {"postgres": "postgresql://u:hidden@h/d", "redis": "redis://:hidden@h", "redis_list": "redis://:hidden@h"}
    secret = {
        name: forms.get(each.metadata["kind"], f"hidden-{name}" + "-" * 32)
        for name, each in FIELDS.items()
        if each.metadata["secret"]
    }
    assert {"database_url", "redis_url", "secret_key", "openai_api_key", "anthropic_api_key"} <= set(secret)
    settings = load_settings({variable_of(name): value for name, value in secret.items()})
    assert "hidden" not in repr(settings)


def test_shared_variables_have_no_prefix() -> None:
    assert set(FIELDS) >= PLAIN_NAMES
    assert variable_of("redis_url") == "REDIS_URL"
    assert variable_of("port") == "NARU_PORT"


def test_load_settings_reads_the_environment_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARU_PORT", "8765")
    assert load_settings().port == 8765
    copy = environment()
    copy["NARU_PORT"] = "1"
    assert load_settings().port == 8765
