"""The later steps: scaling, a killed and a frozen worker, a good and a broken version, a certificate, shutdown."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import Any

from deploy.embedded.processes import ROOT
from tests.deploy import stand_ins
from tests.deploy.load import Questions, Visits, trusting
from tests.deploy.looking import numbers
from tests.deploy.person import person
from tests.deploy.project import ComposeProject

#: Run in a worker's container: signals its worker, as the health check does.
SIGNAL = (
    "import sys; sys.path.insert(0, '/app'); import probe, signal; "
    "sys.exit(not probe.signal_listener(9464, signal.Signals[sys.argv[1]]))"
)
ALIVE = "SELECT count(*) FROM worker WHERE lost_at IS NULL AND lease_expires_at > clock_timestamp()"
RUNNING = "SELECT count(*) FROM chat_request WHERE status = 'running'"
ASKED = "SELECT count(*) FROM chat_request"
#: Slower than replacing a container: the answer still streams when the page's server stops.
WORDS = 320
LONG_QUESTION = f"[[sim: emit=call pace=8 tokens={WORDS}]] Tell me a long story."
DOMAIN = "chat.naru.test"
BROKEN = 'FROM naru-{service}:test-2\nCMD ["python", "-c", "import time; time.sleep(600)"]\n'


def scales(project: ComposeProject) -> str:
    """Scale one worker to three, then kill one of them in the middle of its answers."""
    project.compose("up", "-d", "--no-recreate", "--scale", "worker=3", "worker")
    project.await_healthy("worker", 3)
    project.until(lambda: project.rows(ALIVE) == ["3"], seconds=30, what="three workers with a lease")
    questions = Questions(project, number=150, a_second=10)
    project.until(lambda: int(project.rows(RUNNING)[0]) > 20, seconds=60, what="answers under way")
    victim = project.containers("worker")[0]
    signal_worker(project, victim, "SIGKILL")
    ends = questions.ends()
    assert_all_answered(ends)
    project.await_healthy("worker", 3)
    (again,) = project.inspect(victim["Id"])
    assert again["RestartCount"] == victim["RestartCount"] + 1, "its container restarted"
    anew = project.rows("SELECT count(DISTINCT request_id) FROM request_attempt WHERE attempt > 1")[0]
    assert int(anew) > 0, "it died in the middle of answers"
    return f"{ends['answered']} of {ends['asked']} answered, once each; {anew} of them were taken over"


def mends_a_wedged_worker(project: ComposeProject) -> str:
    """Freeze a worker: its health check notices and kills it, and the container restarts."""
    victim = project.containers("worker")[0]
    signal_worker(project, victim, "SIGSTOP")
    began = time.monotonic()
    before = victim["RestartCount"]
    project.until(lambda: project.inspect(victim["Id"])[0]["RestartCount"] > before, seconds=120, what="a restart")
    restarted = time.monotonic() - began
    project.await_healthy("worker", 3)
    return f"restarted {restarted:.0f} s after it froze"


def rolls(project: ComposeProject) -> str:
    """Roll workers, then web, to a new version under load: nothing fails, and open answers arrive complete."""
    project.compose("up", "-d", "--no-recreate", "--scale", "web=2", "--scale", "worker=2", "web", "worker")
    project.await_healthy("web", 2)
    project.await_healthy("worker", 2)
    with person(project.url, picture=project.folder / "rolls.png") as someone:
        someone.open()
        before = int(project.rows(ASKED)[0])
        questions = Questions(project, number=400, a_second=4)
        project.until(lambda: int(project.rows(ASKED)[0]) > before, seconds=60, what="questions are asked")
        project.environ["NARU_VERSION"] = "test-2"
        began = time.monotonic()
        with Visits(project) as visits:
            for number, words in enumerate((("worker",), ("--no-build", "web")), start=1):
                someone.ask(LONG_QUESTION)
                someone.reads(characters=20)
                project.naru("compose", "roll", *words)
                assert numbers(someone.sees_answers(number, seconds=120)) == list(range(WORDS))
        ends = questions.ends()
    assert not visits.failed, f"{len(visits.failed)} of {visits.done}: {visits.failed[:5]}"
    assert_all_answered(ends)
    for service in ("web", "worker"):
        images = [each["Config"]["Image"] for each in project.containers(service)]
        assert images == [f"naru-{service}:test-2"] * 2, images
    return (
        f"in {time.monotonic() - began:.0f} s; {visits.done} visits, none failed, the slowest"
        f" {visits.slowest_seconds:.2f} s; {ends['answered']} of {ends['asked']} questions answered, once each;"
        f" two open answers of {WORDS} words complete"
    )


def keeps_the_old_where_the_new_is_broken(project: ComposeProject) -> str:
    """Roll to a version that never becomes healthy: it is removed, and the old one keeps serving."""
    for service in ("web", "worker"):
        project.engine.docker("build", "--tag", f"naru-{service}:test-3", "-", stdin=BROKEN.format(service=service))
    launcher = str(ROOT / "deploy" / "cli" / "bootstrap.py")
    with Visits(project) as visits:
        roll = subprocess.run(
            [sys.executable, "-I", launcher, "compose", "roll", "--no-build", "--patience", "15", "web"],
            env={**project.engine.environ, **project.environ, "NARU_VERSION": "test-3"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert roll.returncode == 1, roll.stdout
    assert "did not become healthy" in roll.stderr, roll.stderr
    assert [each["Config"]["Image"] for each in project.containers("web")] == ["naru-web:test-2"] * 2
    assert not visits.failed, visits.failed[:5]
    return f"the new version is gone, the old one still serves; {visits.done} visits, none failed"


def gets_a_certificate(project: ComposeProject) -> str:
    """Get the domain's certificate from a test authority with certbot; nginx serves it, and the renewed one."""
    if not project.with_stand_ins:
        return "not tried: the authority is a stand-in"
    pem = project.engine.docker("run", "--rm", stand_ins.IMAGES["PEBBLE_IMAGE"], "cat", "/pebble/certificate.pem")
    (project.folder / "pebble.pem").write_text(pem)
    (project.folder / "pebble.pem").chmod(0o644)
    project.environ |= {
        "COMPOSE_FILE": "docker-compose.yml:tests/deploy/acme.yml",
        "COMPOSE_PROFILES": "demo,certificate",
        "NARU_DOMAIN": DOMAIN,
        "NARU_EMAIL": f"ops@{DOMAIN}",
        "NARU_ACME_SERVER": "https://pebble:14000/dir",
    }
    began = time.monotonic()
    project.compose("up", "-d", "--no-deps", "nginx", "pebble")
    project.await_healthy("nginx", 1)
    own = certificate(project, DOMAIN)
    project.compose("up", "-d", "--no-deps", "certbot")
    project.until(lambda: certificate(project, DOMAIN) != own, seconds=90, what="nginx serves certbot's certificate")
    issued, took = certificate(project, DOMAIN), time.monotonic() - began
    assert b"Pebble" in issued, "the authority has signed it"
    assert certificate(project, "evil.example") == b"", "another name is not answered"
    (certbot,) = project.containers("certbot")
    store = "/var/lib/naru/letsencrypt"
    words = (
        "renew",
        "--force-renewal",
        "--no-random-sleep-on-renew",
        "--config-dir",
        store,
        "--work-dir",
        "/tmp/w",
        "--logs-dir",
        "/tmp/l",
    )
    project.engine.docker("exec", certbot["Id"], "certbot", *words)
    project.until(
        lambda: certificate(project, DOMAIN) not in {issued, b""}, seconds=60, what="nginx serves the new one"
    )
    return f"issued {took:.0f} s after `up`, renewed and in use without a restart"


def goes_down(project: ComposeProject) -> str:
    """Take the project down; nothing is left."""
    began = time.monotonic()
    project.compose("down", "--volumes", seconds=300)
    assert project.leftovers() == ""
    return f"in {time.monotonic() - began:.0f} s; no container, network or volume is left"


def certificate(project: ComposeProject, name: str) -> bytes:
    """Return the certificate that nginx serves for this name, or nothing if it refuses."""
    try:
        with (
            socket.create_connection(("127.0.0.1", project.https_port), timeout=10) as plain,
            trusting().wrap_socket(plain, server_hostname=name) as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def signal_worker(project: ComposeProject, container: dict[str, Any], name: str) -> None:
    """Signal the worker as the kernel would: after `docker kill` the engine would not restart the container."""
    project.engine.docker("exec", container["Id"], "python", "-c", SIGNAL, name)


def assert_all_answered(ends: dict[str, Any]) -> None:
    """Assert that every question was accepted and has one answer."""
    assert ends["answered"] == ends["accepted"] == ends["asked"], ends
    assert not ends["failures"], ends
