"""`./naru compose setup` makes everything that compose needs, once, and shows no secret."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.cli.bootstrap import WORDS
from deploy.compose.setup import SetupOptions, SetupProblem, set_up
from deploy.embedded.processes import ROOT
from shared.settings import load_settings
from tests.deploy.reading import compose
from tests.patience import patient

KEY = "sk-a-made-up-key"


def options(
    folder: Path,
    *,
    domain: str = "",
    email: str = "",
    keys: Mapping[str, Path | None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> SetupOptions:
    """Return options for one setup."""
    return SetupOptions(folder=folder, domain=domain, email=email, files=keys or {}, environ=environ or {})


def contents(folder: Path) -> dict[str, str]:
    """Return the content of every file that setup made, by name."""
    return {each.name: each.read_text() for each in [*(folder / "secrets").iterdir(), folder / ".env"]}


def test_setup_makes_every_secret_that_compose_mounts(tmp_path: Path) -> None:
    assert set_up(options(tmp_path)) == 0
    assert set(compose()["secrets"]) <= set(contents(tmp_path))
    secrets = tmp_path / "secrets"
    settings = load_settings(
        {
            "DATABASE_URL_FILE": str(secrets / "database_url"),
            "REDIS_URL_FILE": str(secrets / "redis_url"),
            "NARU_SECRET_KEY_FILE": str(secrets / "secret_key"),
            "OPENAI_API_KEY_FILE": str(secrets / "openai_api_key"),
        }
    )
    made = contents(tmp_path)
    assert settings.database_url == f"postgresql://naru:{made['postgres_password'].strip()}@postgres:5432/naru"
    assert settings.redis_url == f"redis://:{made['redis_password'].strip()}@redis:6379/0"
    assert len({made[f"postgres{each}_password"] for each in ("", "_superuser", "_monitor")}) == 3
    assert made["redis_auth.conf"] == f"requirepass {made['redis_password']}"
    assert len(settings.secret_key) > 40
    assert settings.openai_api_key == ""


def test_containers_read_their_own_secrets_only(tmp_path: Path) -> None:
    set_up(options(tmp_path))
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "secrets").iterdir()} == {0o444}
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_second_setup_only_adds_missing_files(tmp_path: Path) -> None:
    set_up(options(tmp_path))
    before = contents(tmp_path)
    (tmp_path / "secrets" / "redis_url").unlink()
    set_up(options(tmp_path, domain="other.example.org"))
    assert contents(tmp_path) == before


def test_old_folder_keeps_its_password_and_gains_roles(tmp_path: Path) -> None:
    set_up(options(tmp_path))
    before = contents(tmp_path)
    for name in ("postgres_superuser_password", "postgres_monitor_password"):
        (tmp_path / "secrets" / name).unlink()
    set_up(options(tmp_path))
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {
        "postgres_superuser_password",
        "postgres_monitor_password",
    }
    (tmp_path / "secrets" / "postgres_password").unlink()
    set_up(options(tmp_path))
    assert contents(tmp_path) == after, "the role's password is the one in database_url"


@pytest.mark.parametrize(
    "address", ["", "postgresql://postgres:5432/naru", "postgresql://naru:@postgres:5432/naru", "postgresql://[naru"]
)
def test_address_without_a_password_is_refused(tmp_path: Path, address: str) -> None:
    set_up(options(tmp_path))
    password, file = (tmp_path / "secrets" / name for name in ("postgres_password", "database_url"))
    password.unlink()
    file.unlink()
    file.write_text(f"{address}\n")
    with pytest.raises(SetupProblem, match=r"secrets/database_url holds no password of naru: write .* or delete it"):
        set_up(options(tmp_path))
    assert not password.exists()


def test_two_setups_share_no_secret(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        set_up(options(tmp_path / name))
    one, other = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert not {name for name in one if one[name] and one[name] == other[name]} - {".env", "providers.toml"}


def test_settings_and_output_hold_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(options(tmp_path, environ={"OPENAI_API_KEY": KEY}))
    made, said = contents(tmp_path), capsys.readouterr()
    for name in set(made) - {".env"}:
        value = made[name].strip()
        assert not value or value not in said.out + said.err, name
        assert not value or value not in made[".env"], name
    assert made["openai_api_key"] == f"{KEY}\n"


def test_demo_answers_until_a_key_is_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(options(tmp_path))
    assert "COMPOSE_PROFILES=demo\n" in contents(tmp_path)[".env"]
    assert "NARU_SIMULATOR_URL=http://simulator:8080\n" in contents(tmp_path)[".env"]
    assert "the demo model answers" in capsys.readouterr().out
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    set_up(options(tmp_path, keys={"anthropic_api_key": key}))
    assert contents(tmp_path)["anthropic_api_key"] == f"{KEY}\n"
    set_up(options(tmp_path, environ={"ANTHROPIC_API_KEY": "another"}))
    assert contents(tmp_path)["anthropic_api_key"] == f"{KEY}\n", "an existing key stays"


def test_domain_with_an_address_gets_a_certificate(tmp_path: Path) -> None:
    set_up(options(tmp_path, domain="chat.example.org", email="ops@example.org", environ={"OPENAI_API_KEY": KEY}))
    settings = contents(tmp_path)[".env"]
    assert "COMPOSE_PROFILES=certificate\n" in settings
    assert "NARU_DOMAIN=chat.example.org\n" in settings
    assert "NARU_SIMULATOR_URL=\n" in settings
    assert "NARU_TRUSTED_PROXIES=\n" in settings


@pytest.mark.parametrize(
    ("domain", "email", "key", "complaint"),
    [
        ("https://chat.example.org", "", "", "not a host name"),
        ("", "ops@example.org", "", "give --domain"),
        ("", "", "two words\n", "does not hold openai_api_key"),
    ],
)
def test_setup_refuses_invalid_options(tmp_path: Path, domain: str, email: str, key: str, complaint: str) -> None:
    keys: dict[str, Path | None] = {}
    if key:
        (tmp_path / "key").write_text(key)
        keys = {"openai_api_key": tmp_path / "key"}
    with pytest.raises(SetupProblem, match=complaint) as raised:
        set_up(options(tmp_path, domain=domain, email=email, keys=keys))
    assert "two words" not in str(raised.value)


def test_setup_needs_no_installed_package(tmp_path: Path) -> None:
    words = ("compose", "setup", "--into", str(tmp_path))
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            WORDS,
            str(ROOT),
            *words,
        ],  # as bootstrap.py starts it; -S hides the packages
        env={"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "secrets" / "database_url").exists()


def test_setup_mentions_a_missing_heartbeat_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(options(tmp_path))
    assert "--heartbeat-webhook" in capsys.readouterr().out
    assert contents(tmp_path)["heartbeat_webhook_url"] == ""
    address = tmp_path / "address"
    address.write_text("https://watch.example.org/ping/1\n")
    set_up(options(tmp_path, keys={"heartbeat_webhook_url": address}))
    assert "heartbeat-webhook" not in capsys.readouterr().out
    assert contents(tmp_path)["heartbeat_webhook_url"] == address.read_text()
