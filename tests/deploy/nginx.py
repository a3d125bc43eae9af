"""nginx on this machine and on free ports, with the configuration and start.sh of docker-compose.yml."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.processes import ROOT
from tests.deploy.reading import missing
from tests.patience import patient
from tests.stack import free_port, get, wait_until

START = ROOT / "deploy" / "nginx" / "start.sh"
PAGE = "text/html"


@dataclass
class Nginx:
    """A running nginx."""

    folder: Path
    http_port: int
    https_port: int
    child: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """Return its error and access log."""
        return (self.folder / "log").read_text()

    @property
    def certificates(self) -> Path:
        """Return the folder that it has as the certificate volume."""
        return self.folder / "store"

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        tls: bool = True,
        password: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, list[tuple[str, str]], str]:
        """Send a request; return the status, the headers with lower-case names, and the body."""
        sent = {"Accept": PAGE, **(headers or {})}
        if password:
            sent["Authorization"] = "Basic " + base64.b64encode(f"naru:{password}".encode()).decode()
        connection = (
            self.connect() if tls else http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=patient(10))
        )
        try:
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            body = b"" if answer.status == 101 else answer.read()
            return answer.status, [(name.lower(), value) for name, value in answer.getheaders()], body.decode()
        finally:
            connection.close()

    def connect(self, *, context: ssl.SSLContext | None = None) -> http.client.HTTPSConnection:
        """Return a connection to its HTTPS port."""
        return http.client.HTTPSConnection(
            "127.0.0.1", self.https_port, timeout=patient(10), context=context or trusting()
        )

    def workers(self) -> set[int]:
        """Return the ids of the processes that serve; a change of the certificate replaces them."""
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return {int(pid) for pid in children if _name_of(pid) == "nginx"}

    def certificate(self) -> bytes:
        """Return the certificate that it serves now."""
        connection = self.connect()
        connection.connect()
        found = connection.sock.getpeercert(binary_form=True)
        connection.close()
        return found or b""


def _name_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:  # it has just ended
        return ""


def trusting() -> ssl.SSLContext:
    """Return a TLS context that accepts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextmanager
def running_nginx(folder: Path, **variables: str) -> Iterator[Nginx]:
    """Start nginx with start.sh and yield it; `variables` add to the environment or replace parts of it."""
    for program, package in (("nginx", "nginx-light"), ("openssl", "openssl")):
        if shutil.which(program) is None:
            missing(f"no {program} here: apt install {package}")
    ports = [free_port() for _ in range(3)]
    environ = {
        "PATH": os.environ["PATH"],
        "NARU_RUN": str(folder / "run"),
        "NARU_CERTIFICATES": str(folder / "store"),
        "NARU_LISTEN_HTTP": f"127.0.0.1:{ports[0]}",
        "NARU_LISTEN_HTTPS": f"127.0.0.1:{ports[1]}",
        "NARU_LISTEN_HEALTH": f"127.0.0.1:{ports[2]}",
        "NARU_HTTPS_PORT": str(ports[1]),
        "NARU_RESOLVER": "127.0.0.1",
        "NARU_CERTIFICATE_POLL_SECONDS": "0.2",
        # In its container nginx starts as an ordinary user.
        "NARU_NGINX_DIRECTIVES": "user root;" if os.getuid() == 0 else "",
        **variables,
    }
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(["sh", str(START)], env=environ, stdout=log, stderr=log)
    made = Nginx(folder, ports[0], ports[1], child)
    try:
        health = f"http://127.0.0.1:{ports[2]}/health"
        wait_until(lambda: child.poll() is not None or get(health)[0] == 200, seconds=15, what="nginx answers")
        assert child.poll() is None, made.log
        yield made
    finally:
        child.terminate()
        child.wait(15)
