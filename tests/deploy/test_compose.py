"""Rules of docker-compose.yml: one public service, no secret in a variable, limits everywhere, order by health."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from dataclasses import fields
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest
from flower import options as flower_options
from tornado.options import options

from deploy.compose.roll import SERVICES as ROLLED
from deploy.compose.setup import LOGGING, VENDOR_KEYS
from deploy.embedded.environment import Part, readers_of
from deploy.embedded.processes import ROOT
from shared.hosts import KnownHosts
from shared.settings import CLOSE_SECONDS, Settings, load_settings, variable_of
from shared.vendors import WITH_KEY
from tests.deploy.reading import compose, missing, seconds
from tests.patience import patient

OURS = ("nginx", "web", "worker", "flower", "migrate", "roles", "postgres", "redis", "simulator", "certbot")
SECRET = re.compile(r"PASS|SECRET|TOKEN$|_KEY$|CREDENTIAL|^DATABASE_URL|^REDIS_URL")
#: Exactly the secrets of each container: what an intruder in it would get.
BUCKET = {"backup_key", "backup_s3_access_key", "backup_s3_secret_key"}
GIVEN = {
    "web": {"database_url", "redis_url", "secret_key", "oidc_client_secret", "smtp_password"},
    "worker": {"database_url", "redis_url", "providers.toml", *VENDOR_KEYS},
    "flower": {"redis_url", "flower_password"},
    "migrate": {"database_url"},
    "roles": {"postgres_superuser_password", "postgres_password", "postgres_monitor_password"},
    "postgres": {"postgres_superuser_password"},
    "redis": {"redis_auth.conf"},
    "backup": {"database_url", "smtp_password"} | BUCKET,
    "restore-drill": BUCKET,
    "alertmanager": {"alert_webhook_url", "heartbeat_webhook_url"},
    "grafana": {"grafana_password"},
    "postgres-exporter": {"postgres_monitor_password"},
    "redis-exporter": {"redis_exporter.json"},
    "elasticsearch": {"elastic_password"},
    "logging-setup": set(LOGGING) - {"kibana_encryption_key"},
    "logstash": {"logstash_internal_password"},
    "kibana": {"kibana_system_password", "kibana_encryption_key"},
}


def services() -> dict[str, dict[str, Any]]:
    """Return every service, with those of the profiles."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def settings_of(name: str) -> dict[str, str]:
    """Return a service's variables."""
    found: dict[str, str] = services()[name].get("environment", {})
    return found


def test_only_nginx_has_ports() -> None:
    assert [name for name, service in services().items() if service.get("ports")] == ["nginx"]
    assert not [name for name, service in services().items() if service.get("network_mode") == "host"]


def test_old_and_new_compose_read_the_file() -> None:
    assert not {"name", "version"} & set(compose())
    assert not [name for name, service in services().items() if "container_name" in service], "it forbids --scale"
    if shutil.which("docker-compose") is None:
        missing("no docker-compose here: apt install docker-compose")
    for files in (("docker-compose.yml",), ("docker-compose.yml", "docker-compose.dev.yml")):
        words = [word for name in files for word in ("-f", name)]
        done = subprocess.run(
            ["docker-compose", *words, "config", "--quiet"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=patient(60),
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", OURS)
def test_services_have_only_needed_privileges(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert not service.get("cap_add")


def test_every_service_is_bounded_and_watched() -> None:
    to_their_end = {
        waited_for
        for service in services().values()
        for waited_for, how in (service.get("depends_on") or {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    for name, service in services().items():
        log = service["logging"]
        assert log["driver"] == "local" or {"max-size", "max-file"} <= set(log["options"]), name  # local has bounds
        assert service.get("mem_limit"), name
        if name not in to_their_end:
            assert service.get("restart") == "unless-stopped", name
            assert "healthcheck" in service or "build" in service, f"{name}: disabled, or in the file, or in the image"


def test_no_variable_holds_a_secret() -> None:
    for name, service in services().items():
        for variable, value in (service.get("environment") or {}).items():
            if SECRET.search(variable) and value:
                assert variable.endswith("_FILE"), f"{name}: {variable}"
            assert not re.search(r"://[^/\s]*:[^/\s]*@", str(value)), f"{name}: {variable}"
        assert not re.search(r"requirepass|--password[= ]", str(service.get("command"))), name


@pytest.mark.parametrize("part", ["web", "worker", "flower", "simulator", "migrate"])
def test_service_gets_only_settings_that_it_reads(part: Part) -> None:
    """Uses the table that `up` follows."""
    settings = {variable_of(each.name): each.name for each in fields(Settings)}
    for variable in services()[part].get("environment") or {}:
        name = settings.get(variable.removesuffix("_FILE"))
        assert name is None or part in readers_of(name), f"{part} does not read {variable}"


def test_each_secret_is_a_file_and_goes_only_where_it_is_used() -> None:
    declared = compose()["secrets"]
    given = {name: set(service["secrets"]) for name, service in services().items() if service.get("secrets")}
    assert given == GIVEN
    assert all(each["file"] == f"./secrets/{name}" for name, each in declared.items())
    assert {each for service in services().values() for each in service.get("secrets") or ()} <= set(declared)
    for name in OURS:
        service = services()[name]
        mounted = set(service.get("secrets") or ())
        used = str(
            (service.get("environment"), service.get("command"), service.get("healthcheck"), service.get("volumes"))
        )
        configuration = (ROOT / "deploy/compose/redis.conf").read_text() + (
            ROOT / "deploy/compose/flowerconfig.py"
        ).read_text()
        assert all(f"/run/secrets/{each}" in used + configuration for each in mounted), name
    assert [name for name, secrets in GIVEN.items() if set(VENDOR_KEYS) & secrets] == ["worker"], "web holds no key"


def test_only_listed_services_reach_the_internet() -> None:
    internal = {name for name, network in compose()["networks"].items() if (network or {}).get("internal")}
    for name in ("web", "flower", "migrate", "roles", "postgres", "redis"):
        assert set(services()[name]["networks"]) <= internal, name
    assert set(services()["web"]["networks"]) & set(services()["nginx"]["networks"]) == {"front"}
    assert not set(services()["nginx"]["networks"]) & set(services()["postgres"]["networks"])


def test_mail_override_leads_only_web_out() -> None:
    added = compose("deploy/compose/docker-compose.mail.yml")
    assert added["networks"] == {"mail": None}
    assert set(added["services"]) == {"web"}
    assert set(added["services"]["web"]["networks"]) == {*services()["web"]["networks"], "mail"}


def test_compose_starts_services_in_order_of_health() -> None:
    for name in ("web", "worker"):
        assert services()[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
        }
    for first, then in (("roles", "migrate"), ("roles", "postgres-exporter")):
        assert services()[then]["depends_on"] == {first: {"condition": "service_completed_successfully"}}
    assert services()["roles"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services()["nginx"]["depends_on"] == {"web": {"condition": "service_healthy"}}
    assert [services()[name]["restart"] for name in ("roles", "migrate")] == ["no", "no"]


def test_worker_has_time_to_finish_its_answers() -> None:
    worker, grace = services()["worker"], float(settings_of("worker")["NARU_GRACE_SECONDS"])
    assert grace >= load_settings(settings_of("worker") | SERVERS).total_seconds, "as long as an answer"
    assert seconds(worker["stop_grace_period"]) >= grace + CLOSE_SECONDS
    assert ROLLED["worker"] >= grace + CLOSE_SECONDS, "a new version waits as long"


#: Empty values in place of the mounted files.
SERVERS = dict.fromkeys(
    (
        *("DATABASE_URL_FILE", "REDIS_URL_FILE", "NARU_SECRET_KEY_FILE", "NARU_OIDC_CLIENT_SECRET_FILE"),
        "NARU_SMTP_PASSWORD_FILE",
        *(f"{vendor.key_variable}_FILE" for vendor in WITH_KEY),
    ),
    "",
)


@pytest.mark.parametrize("name", ["web", "worker", "flower", "migrate"])
def test_compose_variables_are_settings(name: str) -> None:
    known = {variable_of(each) for each in Settings.__dataclass_fields__}
    foreign = {"FORWARDED_ALLOW_IPS"}
    given = {each if each in known else each.removesuffix("_FILE") for each in settings_of(name)}
    assert given <= known | foreign
    load_settings(settings_of(name) | SERVERS)


def test_web_trusts_addresses_from_nginx_network_only() -> None:
    (network,) = compose()["networks"]["front"]["ipam"]["config"]
    trusted = settings_of("web")["FORWARDED_ALLOW_IPS"]
    assert trusted == network["subnet"]
    assert ip_network(trusted).is_private


def test_redis_keeps_hints_and_never_drops_one() -> None:
    lines = dict(
        line.split(maxsplit=1)
        for line in (ROOT / "deploy/compose/redis.conf").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert (lines["appendonly"], lines["appendfsync"], lines["maxmemory-policy"]) == ("yes", "everysec", "noeviction")
    assert "requirepass" not in lines
    assert lines["include"] in {f"/run/secrets/{name}" for name in services()["redis"]["secrets"]}


def test_postgres_is_tuned_and_keeps_texts_out_of_its_log() -> None:
    words = services()["postgres"]["command"]
    given = dict(word.split("=", 1) for before, word in pairwise(words) if before == "-c")
    wanted = {
        "shared_buffers": "256MB",
        "effective_cache_size": "768MB",
        "maintenance_work_mem": "64MB",
        "checkpoint_completion_target": "0.9",
        "wal_buffers": "16MB",
        "default_statistics_target": "100",
        "random_page_cost": "1.1",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }
    assert {name: given.get(name) for name in wanted} == wanted


def test_only_the_server_and_the_roles_job_are_superusers() -> None:
    assert settings_of("postgres")["POSTGRES_USER"] == "postgres"
    assert settings_of("postgres-exporter")["DATA_SOURCE_USER"] == "naru_monitor"
    with_superuser = {name for name, secrets in GIVEN.items() if "postgres_superuser_password" in secrets}
    assert with_superuser == {"roles", "postgres"}
    without = {name for name, service in services().items() if "data" not in service.get("networks", ())}
    assert "restore-drill" in without, "it runs its own server"


def test_web_accepts_the_host_name_of_the_probe() -> None:
    site = settings_of("prometheus")["NARU_SITE"]
    assert KnownHosts(load_settings(settings_of("web") | SERVERS), listens_on="0.0.0.0").knows(f"{site}:8443")


def test_flowerconfig_sets_only_known_options() -> None:
    assert flower_options.default_options is not None
    module = ast.parse((ROOT / "deploy/compose/flowerconfig.py").read_text())
    given = {
        node.targets[0].id
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert given <= set(options.as_dict()), "Flower refuses to start with others"
    wanted = {
        "basic_auth",
        "read_only",
        "persistent",
        "db",
        "max_tasks",
        "purge_offline_workers",
        "url_prefix",
        "xheaders",
    }
    assert wanted <= given


def test_dev_compose_publishes_on_loopback_only() -> None:
    published = [
        port for service in compose("docker-compose.dev.yml")["services"].values() for port in service.get("ports", ())
    ]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
