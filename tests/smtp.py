"""An SMTP server for tests: STARTTLS or TLS, sign-in, and the ways in which a real one fails.

It runs in a thread of its own and keeps what it receives. Only what Naru's client says is understood.
"""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

USER, PASSWORD = "naru", "p" * 20


@dataclass(frozen=True)
class Received:
    """One mail, with the addresses of its envelope."""

    sender: str
    to: str
    message: EmailMessage
    was_encrypted: bool

    @property
    def text(self) -> str:
        """The body."""
        return str(self.message.get_content()).replace("\r\n", "\n")


@dataclass
class SmtpServer:
    """`behaviour` is one of "good", "refuses" (every mail), "frozen" (says nothing), "drips" (never ends a line)."""

    certificate: Path
    key: Path
    behaviour: str = "good"
    is_tls: bool = False
    received: list[Received] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def start(self) -> None:
        """Listen on a free loopback port."""
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), name="smtp", daemon=True).start()
        assert ready.wait(10)

    def close(self) -> None:
        """Stop listening, and drop every connection."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        context = self._context() if self.is_tls else None
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context))
        self.port = int(server.sockets[0].getsockname()[1])
        ready.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(self._drop())
            self._loop.close()

    async def _drop(self) -> None:
        """End every conversation."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)  # the transports close in the next rounds of the loop

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.behaviour == "frozen":
            await asyncio.sleep(3600)
        writer.write(b"220 test ESMTP\r\n")
        is_encrypted, sender, to = self.is_tls, "", ""
        while line := (await reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            reply = b"250 ok"
            match verb.upper():
                case "EHLO":
                    reply = b"250-test\r\n" + (b"250-AUTH PLAIN\r\n250 8BITMIME" if is_encrypted else b"250 STARTTLS")
                    await self._drip(writer)
                case "STARTTLS":
                    writer.write(b"220 go\r\n")
                    await writer.start_tls(self._context())
                    is_encrypted = True
                    continue
                case "AUTH":
                    reply = self._sign_in(rest.split()[1])
                case "MAIL":
                    sender = _address_in(rest)
                case "RCPT":
                    to = _address_in(rest)
                    reply = b"550 no such person" if self.behaviour == "refuses" else reply
                case "DATA":
                    writer.write(b"354 go\r\n")
                    body = await reader.readuntil(b"\r\n.\r\n")
                    self._keep(sender, to, body[:-3], was_encrypted=is_encrypted)
            writer.write(reply + b"\r\n")
            await writer.drain()

    def _sign_in(self, given: str) -> bytes:
        _, user, password = base64.b64decode(given).decode().split("\0")
        is_right = (user, password) == (USER, PASSWORD)
        self.signed_in += [user] if is_right else []
        return b"235 welcome" if is_right else b"535 no"

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        while self.behaviour == "drips":
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.2)

    def _keep(self, sender: str, to: str, body: bytes, *, was_encrypted: bool) -> None:
        message = email.message_from_bytes(body, policy=email.policy.default)
        self.received.append(Received(sender, to, message, was_encrypted))

    def wait_for(self, number: int, *, seconds: float) -> list[Received]:
        """Return the mails once there are `number`; fails after `seconds`."""
        limit = time.monotonic() + seconds
        while len(self.received) < number:
            assert time.monotonic() < limit, f"{len(self.received)} of {number} mails arrived"
            time.sleep(0.02)
        return self.received


def _address_in(text: str) -> str:
    return text.partition("<")[2].partition(">")[0]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of localhost that signs itself; return its file and that of its key."""
    certificate, key = folder / "smtp.crt", folder / "smtp.key"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", names], check=True, capture_output=True)
    return certificate, key


@contextmanager
def smtp_server(folder: Path, *, behaviour: str = "good", is_tls: bool = False) -> Iterator[SmtpServer]:
    """Yield a server that listens."""
    server = SmtpServer(*make_certificate(folder), behaviour=behaviour, is_tls=is_tls)
    server.start()
    try:
        yield server
    finally:
        server.close()


def settings_for(server: SmtpServer, **more: Any) -> dict[str, Any]:
    """Return the settings with which Naru uses this server; SSL_CERT_FILE makes its certificate known."""
    return {
        "smtp_host": "localhost",
        "smtp_port": server.port,
        "smtp_security": "tls" if server.is_tls else "starttls",
        "smtp_user": USER,
        "smtp_password": PASSWORD,
        "smtp_sender": "naru@example.org",
        "domain": "chat.example.org",
        **more,
    }
