"""The real nginx and its configuration, in front of the real web process: what it passes, adds, hides, refuses."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import brotli
import pytest

from deploy.embedded.processes import ROOT
from tests.conftest import TEMPLATE
from tests.deploy.looking import ONCE, PRIVATE
from tests.deploy.nginx import START, Nginx, running_nginx, trusting
from tests.patience import patient
from tests.stack import Servers, Stack, wait_until
from tests.web.clients import browser
from web.shell import chunks

SCRIPT = f"/{chunks.first_page()[0]}"
NOBODY = "127.0.0.1:9"
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "streamlit",
}


@pytest.fixture(scope="module")
def before_web(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[tuple[Stack, Nginx]]:
    """Yield nginx in front of a web process that trusts its headers."""
    folder = tmp_path_factory.mktemp("nginx")
    url = servers.create_database("behind_nginx", template=TEMPLATE)
    redis_url = servers.redis_server.url_of(servers.redis_server.databases - 1)
    stack = Stack(folder / "logs", url, redis_url, servers)
    try:
        web = stack.start_web()
        with running_nginx(folder, NARU_WEB=urlsplit(web.url).netloc, NARU_FLOWER=NOBODY) as made:
            yield stack, made
    finally:
        stack.close()
        servers.drop_database("behind_nginx")


@pytest.fixture
def naru(before_web: tuple[Stack, Nginx]) -> Nginx:
    """nginx in front of web."""
    return before_web[1]


def test_plain_http_redirects_to_tls(naru: Nginx) -> None:
    status, headers, _ = naru.ask("/chat?x=1", tls=False, headers={"Host": "localhost"})
    assert (status, dict(headers)["location"]) == (301, f"https://localhost:{naru.https_port}/chat?x=1")


def test_headers_are_sent_once(naru: Nginx) -> None:
    for path in ("/", "/_stcore/health", "/static/nothing.js", "/metrics", "/flower/"):
        _, headers, _ = naru.ask(path)
        counts = Counter(name for name, _ in headers)
        assert [counts[name] for name in ONCE] == [1] * len(ONCE), f"{path}: {headers}"
    assert Counter(name for name, _ in naru.ask("/")[1])["content-security-policy"] == 1
    assert dict(naru.ask("/")[1]).get("server", "nginx") == "nginx", "no version"


def test_every_cookie_is_for_tls_only(naru: Nginx) -> None:
    cookies = [value for path in ("/", "/_stcore/health") for name, value in naru.ask(path)[1] if name == "set-cookie"]
    assert len(cookies) >= 2, "our identity and Streamlit's own"
    for cookie in cookies:
        assert cookie.lower().count("; secure") == 1, cookie
        assert cookie.lower().count("; samesite") == 1, cookie


@pytest.mark.parametrize("path", PRIVATE)
def test_nginx_hides_private_addresses(naru: Nginx, path: str) -> None:
    status, _, body = naru.ask(path)
    assert status == 404
    assert "naru_" not in body


def test_server_accepts_only_the_websocket_of_its_page(naru: Nginx) -> None:
    own = f"https://127.0.0.1:{naru.https_port}"
    assert naru.ask("/_stcore/stream", headers={**WEBSOCKET, "Origin": own})[0] == 101
    assert naru.ask("/_stcore/stream", headers={**WEBSOCKET, "Origin": "https://evil.example"})[0] == 403


def test_nginx_does_not_buffer_events(before_web: tuple[Stack, Nginx]) -> None:
    stack, naru = before_web
    _, cookie = browser(stack)
    connection = naru.connect()
    connection.request(
        "GET", f"/api/conversations/{uuid4()}/events", headers={"Cookie": cookie, "Accept-Encoding": "gzip"}
    )
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["content-encoding"] is None
    connection.sock.settimeout(patient(5))
    assert answer.readline(), "the first line comes while the stream is open"
    connection.close()


def test_compressed_files_pass_as_web_sent_them(before_web: tuple[Stack, Nginx]) -> None:
    _, naru = before_web
    for path in ("/", "/page.css", SCRIPT):
        for accepted, coding in (("gzip, br", "br"), ("gzip", "gzip")):
            connection = naru.connect()
            connection.request("GET", path, headers={"Accept-Encoding": accepted})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            assert answer.headers["content-encoding"] == coding
            assert "Accept-Encoding" in answer.headers["vary"]
            text = (brotli.decompress if coding == "br" else gzip.decompress)(body)
            assert text.decode() == naru.ask(path)[2], "compressed once"


def test_nginx_overwrites_forwarded_headers(before_web: tuple[Stack, Nginx]) -> None:
    """Web trusts X-Forwarded-Proto: a client's own value could make it set a cookie without Secure."""
    _, naru = before_web
    _, headers, _ = naru.ask("/", headers={"X-Forwarded-Proto": "http", "X-Forwarded-For": "1.2.3.4"})
    assert "strict-transport-security" in dict(headers)
    line = next(json.loads(each) for each in reversed(naru.log.splitlines()) if each.startswith("{"))
    assert line["remote_addr"] == "127.0.0.1"
    assert line["http_request_id"]


def test_burst_is_refused_with_an_explanation(tmp_path: Path) -> None:
    with running_nginx(tmp_path, NARU_WEB=NOBODY) as made:
        connection = made.connect()
        refused = None
        for _ in range(600):
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read().decode()
            if answer.status == 429:
                refused = (body, answer.headers["retry-after"])
                break
        connection.close()
        assert refused is not None
        assert "try again" in refused[0]
        assert refused[1] == "2"
        assert made.ask("/static/nothing.js")[0] == 503, "the page's files have no limit"


def test_tls_follows_mozillas_intermediate_profile(naru: Nginx) -> None:
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = naru.connect(context=context)
    connection.connect()
    assert connection.sock.selected_alpn_protocol() == "h2"
    assert connection.sock.version() == "TLSv1.3"
    connection.close()
    for weak in ("AES128-SHA", "ECDHE-RSA-AES128-SHA", "AES256-GCM-SHA384"):
        old = trusting()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers(f"{weak}:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError):
            naru.connect(context=old).connect()


def test_certbots_answer_is_served_without_tls(naru: Nginx) -> None:
    challenge = naru.certificates / "acme" / ".well-known" / "acme-challenge" / "a-token"
    challenge.write_text("what it proves")
    assert naru.ask("/.well-known/acme-challenge/a-token", tls=False)[::2] == (200, "what it proves")
    assert naru.ask("/.well-known/acme-challenge/another", tls=False)[0] == 404


def test_nginx_takes_a_new_certificate_only_if_it_fits(tmp_path: Path) -> None:
    with running_nginx(tmp_path, NARU_WEB=NOBODY) as made:
        own, before = made.certificate(), made.workers()
        live = made.certificates / "letsencrypt" / "live" / "naru"
        live.mkdir(parents=True)
        sign(live, "one")
        # Until then one of them may accept a connection still.
        wait_until(lambda: not before & made.workers(), what="the processes with the old certificate have ended")
        wait_until(lambda: made.certificate() != own, what="nginx serves certbot's certificate")
        issued = made.certificate()
        key = (live / "privkey.pem").read_text()
        (live / "privkey.pem").write_text("no key")
        wait_until(lambda: "cannot be used" in made.log, what="nginx reports it")
        assert made.certificate() == issued
        (live / "privkey.pem").write_text(key)
        sign(live, "two")
        wait_until(lambda: made.certificate() != issued, what="nginx serves the repaired certificate")


def sign(folder: Path, name: str) -> None:
    """Write a certificate where certbot would put it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-keyout", str(folder / "privkey.pem"), "-out", str(folder / "new.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=patient(30))
    (folder / "new.pem").rename(folder / "fullchain.pem")


def test_nginx_answers_only_to_its_domain(tmp_path: Path) -> None:
    with running_nginx(tmp_path, NARU_WEB=NOBODY, NARU_DOMAIN="chat.example.org", NARU_HTTPS_PORT="443") as made:
        status, headers, _ = made.ask("/x", tls=False, headers={"Host": "evil.example"})
        assert (status, dict(headers)["location"]) == (301, "https://chat.example.org/x")
        for name, is_answered in (("chat.example.org", True), ("evil.example", False)):
            with socket.create_connection(("127.0.0.1", made.https_port), timeout=5) as plain:
                try:
                    trusting().wrap_socket(plain, server_hostname=name).close()
                except ssl.SSLError:
                    assert not is_answered, name
                else:
                    assert is_answered, name


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NARU_DOMAIN", "a b;"),
        ("NARU_FLOWER_ALLOW", "all"),
        ("NARU_HSTS_SECONDS", "long"),
        ("NARU_HTTPS_PORT", "https"),
        ("NARU_TRUSTED_PROXIES", "balancer.example.org"),
        ("NARU_NGINX_SOCKETS", "many"),
    ],
)
def test_invalid_setting_is_refused_with_an_explanation(tmp_path: Path, variable: str, value: str) -> None:
    environ = {"PATH": "/usr/sbin:/usr/bin:/bin", "NARU_RUN": str(tmp_path), "NARU_CERTIFICATES": str(tmp_path)}
    done = subprocess.run(
        ["sh", str(START)],
        env={**environ, variable: value},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=patient(30),
    )
    assert done.returncode == 1
    assert variable.removesuffix("S_PORT") in done.stderr


def test_nginx_hides_flower_from_other_networks(tmp_path: Path) -> None:
    with running_nginx(tmp_path, NARU_WEB=NOBODY, NARU_FLOWER_ALLOW="10.99.0.0/16") as made:
        assert made.ask("/flower/")[0] == 403


def test_nginx_explains_that_web_is_down(tmp_path: Path) -> None:
    with running_nginx(tmp_path, NARU_WEB=NOBODY) as made:
        status, headers, body = made.ask("/")
        assert (status, dict(headers)["retry-after"]) == (503, "5")
        assert "nothing that was asked is lost" in body
