"""The first steps: it comes up, it is closed where it should be, and a person can use it. Each returns what it saw in
words, and raises AssertionError for what must not be."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from collections import Counter

from playwright.sync_api import expect

from tests.deploy.load import trusting
from tests.deploy.person import SECONDS, person
from tests.deploy.project import SERVICES, ComposeProject

PRIVATE = [
    *("/metrics", "//metrics", "/%6detrics", "/./metrics", "/x/../metrics", "/healthz", "/readyz"),
    *("/_stcore/metrics", "/_stcore/agent/mcp", "/_stcore/agent/openapi.json", "/_stcore/script-health-check"),
    *("/flower/metrics", "/flower/healthcheck"),
]
#: On every answer, web's and nginx's own, exactly once.
ONCE = ("x-content-type-options", "x-frame-options", "referrer-policy", "strict-transport-security")
BURST = 450


def comes_up(project: ComposeProject) -> str:
    """One command for the settings, one for the rest; ordered by health."""
    said = project.naru("compose", "setup", "--into", str(project.folder))
    assert not [value for value in secrets_of(project).values() if value in said], "a secret was shown"
    began = time.monotonic()
    project.compose("build", seconds=1800)
    built = time.monotonic()
    project.compose("up", "-d", seconds=600)
    for service in SERVICES:
        project.await_healthy(service, 1)
    sizes = ", ".join(f"{name} {size_of(project, f'naru-{name}:test-1')} MB" for name in ("web", "worker", "nginx"))
    return f"built in {built - began:.0f} s, all healthy {time.monotonic() - built:.0f} s later; {sizes}"


def is_closed(project: ComposeProject) -> str:
    """No root, no rights, nothing to write; one service with ports; no secret to be seen; web cannot get out."""
    for service in SERVICES:
        (container,) = project.containers(service)
        host, settings = container["HostConfig"], container["Config"]
        assert settings["User"].partition(":")[0] not in {"", "0", "root"}, service
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert any("no-new-privileges" in each for each in host["SecurityOpt"]), service
        assert host["LogConfig"]["Config"].get("max-size"), service
        assert bool(host["PortBindings"]) == (service == "nginx"), service
        shown = [name for name, value in secrets_of(project).items() if value in json.dumps(container)]
        assert not shown, f"{service} shows {shown}"
    assert inside(project, "web", "openai", "anthropic", "aiohttp", "flower", "/app/workers") == []
    foreign = ("openai_api_key", "postgres_password", "postgres_superuser_password")
    assert inside(project, "web", *(f"/run/secrets/{name}" for name in foreign)) == []
    assert project.rows("SELECT rolname FROM pg_roles WHERE rolsuper") == ["postgres"]
    used = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'naru%'"
    assert project.rows(used) == ["naru"], "who is connected"
    assert inside(project, "worker", "streamlit", "pandas", "uvicorn", "/app/web", "/run/secrets/secret_key") == []
    assert inside(project, "worker", "openai", "/run/secrets/openai_api_key") == [
        "openai",
        "/run/secrets/openai_api_key",
    ]
    assert [reaches_outside(project, service) for service in ("worker", "web")] == [True, False], "web has a way out"
    return f"{len(SERVICES)} services: users, rights, ports, secrets, contents as they should be"


def is_guarded(project: ComposeProject) -> str:
    """The redirect, the headers once each, Secure on every cookie, the private paths, Flower's password, HTTP/2."""
    status, headers = fetch(project, "/chat?x=1", tls=False)
    assert (status, dict(headers)["location"]) == (301, f"{project.url}/chat?x=1")
    cookies = 0
    for path in ("/", "/_stcore/health", "/static/nothing.js", "/flower/", "/metrics"):
        _, headers = fetch(project, path)
        counts = Counter(name for name, _ in headers)
        assert [counts[name] for name in ONCE] == [1] * len(ONCE), f"{path}: {headers}"
        assert counts["content-security-policy"] <= 1, path
        assert counts["server"] <= 1, path
        for cookie in (value.lower() for name, value in headers if name == "set-cookie"):
            cookies += 1
            assert cookie.count("; secure") == 1, cookie
            assert cookie.count("; samesite") == 1, cookie
    closed = {path: fetch(project, path)[0] for path in PRIVATE}
    assert set(closed.values()) == {404}, closed
    password = secrets_of(project)["flower_password"]
    assert [fetch(project, "/flower/", password=each)[0] for each in ("", "guess", password)] == [401, 401, 200]
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = http.client.HTTPSConnection("localhost", project.https_port, timeout=20, context=context)
    connection.connect()
    assert connection.sock.selected_alpn_protocol() == "h2"
    connection.close()
    return f"{len(PRIVATE)} private addresses closed, {cookies} cookies all Secure, HTTP/2"


def is_limited(project: ComposeProject) -> str:
    """Too many requests are refused with 429 and a sentence; a moment later all is as before."""
    connection = http.client.HTTPSConnection("localhost", project.https_port, timeout=20, context=trusting())
    seen: Counter[int] = Counter()
    for _ in range(BURST):
        connection.request("GET", "/_stcore/health")
        answer = connection.getresponse()
        answer.read()
        seen[answer.status] += 1
    connection.close()
    assert set(seen) == {200, 429}, seen
    time.sleep(8)  # the bucket is empty again, for the next steps too
    assert fetch(project, "/_stcore/health")[0] == 200
    return f"of {BURST} requests in a burst {seen[429]} got 429"


def is_used(project: ComposeProject) -> str:
    """A question in Chromium: seen while it is written, whole in the end, and nothing breaks the page's policy."""
    with person(project.url, picture=project.folder / "is_used.png") as someone:
        someone.open()
        someone.ask("[[sim: emit=call pace=20 tokens=80]] What is a ferry?")
        part = someone.reads(characters=20)
        assert len(numbers(part)) < 80, "the answer was to be seen while it grew"
        assert numbers(someone.sees_answers(1)) == list(range(80))
        assert any(each.startswith("wss://") for each in someone.sockets), someone.sockets
        cookies = someone.context.cookies()
        assert cookies
        assert all(each["secure"] for each in cookies), cookies
        assert not someone.violations(), someone.violations()
        errors = [line for line in someone.said if not line.startswith("warning")]
        assert not errors, errors
    return f"{len(numbers(part))} words seen early, 80 in the end; {len(cookies)} cookies; the policy was never broken"


def flower_is_used(project: ComposeProject) -> str:
    """Flower behind nginx shows the worker, under the policy that nginx gives it, and nothing can be done with it."""
    password = secrets_of(project)["flower_password"]
    with person(project.url, password=password, picture=project.folder / "flower.png") as someone:
        someone.page.goto(f"{project.url}/flower/")
        expect(someone.page.get_by_text(re.compile(r"worker-\d")).first).to_be_visible(timeout=60 * SECONDS)
        name = someone.page.get_by_text(re.compile(r"worker-\d")).first.inner_text()
        assert not someone.violations(), someone.violations()
    status, _ = fetch(project, f"/flower/api/worker/shutdown/{name}", password=password, method="POST")
    assert status in {403, 404, 405}, status
    assert project.containers("worker")[0]["RestartCount"] == 0
    return f"{name} is shown; to shut it down is refused with {status}"


def secrets_of(project: ComposeProject) -> dict[str, str]:
    """Every secret that is not empty, by its name."""
    found = {each.name: each.read_text().strip() for each in (project.folder / "secrets").iterdir()}
    return {name: value for name, value in found.items() if value}


def size_of(project: ComposeProject, image: str) -> int:
    """In MB of 10^6 bytes, as `docker image ls` counts."""
    return round(int(project.engine.docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6)


def inside(project: ComposeProject, service: str, *names: str) -> list[str]:
    """Which of these modules and paths the service's container has."""
    script = (
        "import importlib.util, json, os, sys;"
        "has = lambda n: os.path.exists(n) if n[0] == '/' else importlib.util.find_spec(n);"
        "print(json.dumps([n for n in sys.argv[1:] if has(n)]))"
    )
    said = project.engine.docker("exec", project.containers(service)[0]["Id"], "python", "-c", script, *names)
    found: list[str] = json.loads(said)
    return found


def reaches_outside(project: ComposeProject, service: str) -> bool:
    """Whether it comes by address to what stands on the network that leads out: the demo model."""
    (network,) = project.containers("simulator")[0]["NetworkSettings"]["Networks"].values()
    script = f"import socket; socket.create_connection(('{network['IPAddress']}', 8080), timeout=3); print('there')"
    container = project.containers(service)[0]["Id"]
    return "there" in project.engine.docker("exec", container, "python", "-c", script, check=False)


def numbers(text: str) -> list[int]:
    """The numbers of the words of an answer that was asked for with emit=call, from 0."""
    return [int(number) for number in re.findall(r"나(\d+)@", text)]


def fetch(
    project: ComposeProject, path: str, *, tls: bool = True, password: str = "", method: str = "GET"
) -> tuple[int, list[tuple[str, str]]]:
    """One request as a browser's navigation: status, and headers with small names."""
    connection = (
        http.client.HTTPSConnection("localhost", project.https_port, timeout=20, context=trusting())
        if tls
        else http.client.HTTPConnection("localhost", project.http_port, timeout=20)
    )
    headers = {"Accept": "text/html"}
    if password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"naru:{password}".encode()).decode()
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, [(name.lower(), value) for name, value in answer.getheaders()]
