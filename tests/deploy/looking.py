"""The first steps: the project starts, is closed where it must be, and a person can use it.

Each step returns a summary, and raises AssertionError on a fault.
"""

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
#: Headers that every answer has exactly once, whether from web or from nginx.
ONCE = ("x-content-type-options", "x-frame-options", "referrer-policy", "strict-transport-security")
BURST = 450


def comes_up(project: ComposeProject) -> str:
    """Write the settings, build the images, start the services and wait until all are healthy."""
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
    """Check users, rights, ports, secrets and contents of each container, and that web has no way out."""
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
    """Check the redirect, headers, Secure on every cookie, private paths, Flower's password and HTTP/2."""
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
    """Send too many requests: the excess gets 429, and a moment later requests pass again."""
    connection = http.client.HTTPSConnection("localhost", project.https_port, timeout=20, context=trusting())
    seen: Counter[int] = Counter()
    for _ in range(BURST):
        connection.request("GET", "/_stcore/health")
        answer = connection.getresponse()
        answer.read()
        seen[answer.status] += 1
    connection.close()
    assert set(seen) == {200, 429}, seen
    time.sleep(8)  # let the bucket drain, for the next steps too
    assert fetch(project, "/_stcore/health")[0] == 200
    return f"{seen[429]} of {BURST} requests in a burst got 429"


def is_used(project: ComposeProject) -> str:
    """Ask in Chromium: the answer streams, arrives complete, and nothing violates the page's policy."""
    with person(project.url, picture=project.folder / "is_used.png") as someone:
        someone.open()
        someone.ask("[[sim: emit=call pace=20 tokens=80]] What is a ferry?")
        part = someone.reads(characters=20)
        assert len(numbers(part)) < 80, "the answer was visible while it streamed"
        assert numbers(someone.sees_answers(1)) == list(range(80))
        assert any(each.startswith("wss://") for each in someone.sockets), someone.sockets
        cookies = someone.context.cookies()
        assert cookies
        assert all(each["secure"] for each in cookies), cookies
        assert not someone.violations(), someone.violations()
        errors = [line for line in someone.said if not line.startswith("warning")]
        assert not errors, errors
    return f"{len(numbers(part))} words seen early, 80 in the end; {len(cookies)} cookies; no policy violation"


def flower_is_used(project: ComposeProject) -> str:
    """Open Flower behind nginx: it shows the worker, obeys nginx's policy, and refuses to shut the worker down."""
    password = secrets_of(project)["flower_password"]
    with person(project.url, password=password, picture=project.folder / "flower.png") as someone:
        someone.page.goto(f"{project.url}/flower/")
        expect(someone.page.get_by_text(re.compile(r"worker-\d")).first).to_be_visible(timeout=60 * SECONDS)
        name = someone.page.get_by_text(re.compile(r"worker-\d")).first.inner_text()
        assert not someone.violations(), someone.violations()
    status, _ = fetch(project, f"/flower/api/worker/shutdown/{name}", password=password, method="POST")
    assert status in {403, 404, 405}, status
    assert project.containers("worker")[0]["RestartCount"] == 0
    return f"{name} is shown; shutting it down is refused with {status}"


def secrets_of(project: ComposeProject) -> dict[str, str]:
    """Return every non-empty secret by name."""
    found = {each.name: each.read_text().strip() for each in (project.folder / "secrets").iterdir()}
    return {name: value for name, value in found.items() if value}


def size_of(project: ComposeProject, image: str) -> int:
    """Return an image's size in MB of 10^6 bytes, as `docker image ls` counts."""
    return round(int(project.engine.docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6)


def inside(project: ComposeProject, service: str, *names: str) -> list[str]:
    """Return which of these modules and paths the service's container has."""
    script = (
        "import importlib.util, json, os, sys;"
        "has = lambda n: os.path.exists(n) if n[0] == '/' else importlib.util.find_spec(n);"
        "print(json.dumps([n for n in sys.argv[1:] if has(n)]))"
    )
    said = project.engine.docker("exec", project.containers(service)[0]["Id"], "python", "-c", script, *names)
    found: list[str] = json.loads(said)
    return found


def reaches_outside(project: ComposeProject, service: str) -> bool:
    """Return whether the service can connect to the demo model, which is on the network that leads out."""
    (network,) = project.containers("simulator")[0]["NetworkSettings"]["Networks"].values()
    script = f"import socket; socket.create_connection(('{network['IPAddress']}', 8080), timeout=3); print('there')"
    container = project.containers(service)[0]["Id"]
    return "there" in project.engine.docker("exec", container, "python", "-c", script, check=False)


def numbers(text: str) -> list[int]:
    """Return the numbers of an answer's words, from 0; the question must say emit=call."""
    return [int(number) for number in re.findall(r"나(\d+)@", text)]


def fetch(
    project: ComposeProject, path: str, *, tls: bool = True, password: str = "", method: str = "GET"
) -> tuple[int, list[tuple[str, str]]]:
    """Send a request like a browser's navigation; return the status and the headers with lower-case names."""
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
