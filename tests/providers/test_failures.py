"""Tests that every failure of a call, caused over HTTP, becomes the right error."""

from __future__ import annotations

import logging
import re
import socket
from typing import NamedTuple

import pytest

from shared import errors
from shared.errors import ProviderError
from tests.patience import patient
from tests.providers.asking import KEY, Answer, Wire, ask
from workers.simulator import tokens_for

Kind = type[ProviderError]
SECRET = "a-private-question"


class Case(NamedTuple):
    """A fault, the error that it must become, and the class that is raised with openai's and with anthropic's SDK."""

    fault: str
    kind: Kind
    openai: str
    anthropic: str


STATUS = "APIStatusError"
SERVER = "InternalServerError"
EVENT = "ErrorEvent"
CASES = [
    Case("fault=302", errors.WrongAddress, STATUS, STATUS),
    Case("fault=400", errors.BadRequest, "BadRequestError", "BadRequestError"),
    Case("fault=401", errors.AuthFailed, "AuthenticationError", "AuthenticationError"),
    Case("fault=402", errors.QuotaExhausted, STATUS, "PaymentRequiredError"),
    Case("fault=403", errors.AuthFailed, "PermissionDeniedError", "PermissionDeniedError"),
    Case("fault=404", errors.ModelNotFound, "NotFoundError", "NotFoundError"),
    Case("fault=408", errors.ServerFailed, STATUS, "RequestTimeoutError"),
    Case("fault=409", errors.ServerFailed, "ConflictError", "ConflictError"),
    Case("fault=412", errors.BadRequest, STATUS, "PreconditionFailedError"),
    Case("fault=413", errors.ContextTooLong, STATUS, "ContentTooLargeError"),
    Case("fault=418", errors.BadRequest, STATUS, STATUS),
    Case("fault=422", errors.BadRequest, "UnprocessableEntityError", "UnprocessableEntityError"),
    Case("fault=429", errors.RateLimited, "RateLimitError", "RateLimitError"),
    Case("fault=431", errors.BadRequest, STATUS, "RequestHeaderFieldsTooLargeError"),
    Case("fault=499", errors.ServerFailed, STATUS, "ClientClosedRequestError"),
    Case("fault=500", errors.ServerFailed, SERVER, SERVER),
    Case("fault=501", errors.BadRequest, SERVER, "HTTPNotImplementedError"),
    Case("fault=502", errors.ServerFailed, SERVER, SERVER),
    Case("fault=503", errors.Overloaded, SERVER, "ServiceUnavailableError"),
    Case("fault=504", errors.ServerFailed, SERVER, "GatewayTimeoutError"),
    Case("fault=529", errors.Overloaded, SERVER, "OverloadedError"),
    Case("fault=quota", errors.QuotaExhausted, "RateLimitError", "PaymentRequiredError"),
    Case("fault=balance", errors.QuotaExhausted, STATUS, "BadRequestError"),
    Case("fault=context", errors.ContextTooLong, "BadRequestError", "BadRequestError"),
    Case("fault=filter", errors.ContentFiltered, "BadRequestError", "BadRequestError"),
    Case("fault=error", errors.Overloaded, EVENT, EVENT),
    Case("fault=error at=3 type=rate_limit_error", errors.RateLimited, EVENT, EVENT),
    Case("fault=error at=3 type=invalid_request_error", errors.BadRequest, EVENT, EVENT),
    Case("fault=error at=3 type=never_heard_of", errors.ServerFailed, EVENT, EVENT),
    Case("fault=refuse", errors.ConnectFailed, "API(Connection|Timeout)Error", "API(Connection|Timeout)Error"),
    Case("fault=badhead", errors.BadStream, ".*", ".*"),
    Case("fault=gzip", errors.BadStream, "DecodingError", "DecodingError"),
    Case("fault=cut at=3", errors.StreamBroken, ".*Error", ".*Error"),
    Case("fault=eof at=3", errors.StreamBroken, "ClientPayloadError", "ClientPayloadError"),
    Case("fault=malformed at=3", errors.BadStream, "JSONDecodeError", "JSONDecodeError"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
def test_http_errors_map_to_our_errors(wire: Wire, case: Case, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = wire.ask(f"[[sim: {case.fault}]] {SECRET}")
    error = only_error(answer)
    assert type(error) is case.kind
    assert error.retryable is case.kind.retryable
    raised = next(vars(record)["error"] for record in caplog.records if record.message == "provider failed")
    assert re.fullmatch(getattr(case, wire.name), raised), raised
    assert_nothing_leaked(error, caplog)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("fault=end at=3", errors.StreamBroken),
        ("fault=end", errors.StreamBroken),
        ("fault=html", errors.WrongAddress),
    ],
)
def test_clean_end_without_finish_mark_fails(wire: Wire, fault: str, kind: Kind) -> None:
    assert type(only_error(wire.ask(f"[[sim: {fault}]] {SECRET}"))) is kind


def test_stream_yields_text_before_an_error(wire: Wire) -> None:
    message = "[[sim: fault=error at=3]]"
    assert wire.ask(message).text == "".join(tokens_for(message)[:3])


def test_error_keeps_the_request_id_of_the_provider(wire: Wire) -> None:
    for fault in ("429", "cut at=2", "end at=2"):
        error = only_error(wire.ask(f"[[sim: fault={fault}]]"))
        assert (error.provider_request_id or "").startswith("req_sim_"), fault


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("retry_after=2", 2, 2),
        ("retry_after=0.5", 0.5, 0.5),
        ("retry_after_ms=1500", 1.5, 1.5),
        ("retry_after=date:30", 28, 31),
        ("retry_after=date:-30", 0, 0),
        ("retry_after=-4", 0, 0),
        ("retry_after=99999999999", 3600, 3600),
    ],
)
def test_retry_after_is_read_in_all_its_forms(wire: Wire, header: str, least: float, most: float) -> None:
    error = only_error(wire.ask(f"[[sim: fault=429 {header}]]"))
    assert error.retry_after_seconds is not None
    assert least <= error.retry_after_seconds <= most


@pytest.mark.parametrize(
    "header", ["", "retry_after=soon", "retry_after=nan", "retry_after=inf", "retry_after=date:1e9"]
)
def test_invalid_retry_after_is_ignored_or_capped(wire: Wire, header: str) -> None:
    error = only_error(wire.ask(f"[[sim: fault=503 {header}]]"))
    assert error.retry_after_seconds in {None, 3600.0}


def test_429_costs_one_call_and_no_time(wire: Wire) -> None:
    """The SDK's retries are off, because the queue does the waiting."""
    answer = wire.ask("[[sim: fault=429 retry_after=50]]")
    assert answer.seconds < patient(1)
    assert [event["event"] for event in wire.simulator.events(answer.trace)] == ["start", "refused"]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_missing_server_is_a_failed_connection(wire: Wire) -> None:
    assert type(error_at(wire, f"http://127.0.0.1:{unused_port()}")) is errors.ConnectFailed


def test_unresolvable_host_is_a_failed_connection(wire: Wire) -> None:
    assert type(error_at(wire, "http://naru.invalid")) is errors.ConnectFailed


def test_plain_server_is_a_failed_tls_connection(wire: Wire) -> None:
    assert type(error_at(wire, wire.simulator.url.replace("http:", "https:"))) is errors.ConnectFailed


def test_provider_rejects_an_invalid_address(wire: Wire) -> None:
    assert type(error_at(wire, "gopher://127.0.0.1")) is errors.BadRequest


def error_at(wire: Wire, url: str) -> ProviderError:
    """Ask a provider at this address; return the error."""
    return only_error(wire.run(lambda provider: ask(provider, SECRET), url=url))


def only_error(answer: Answer) -> ProviderError:
    assert answer.done is None
    assert answer.error is not None
    return answer.error


def assert_nothing_leaked(error: ProviderError, caplog: pytest.LogCaptureFixture) -> None:
    """Check that error, chain and log hold no prompt or key, though the provider's error repeats both."""
    shown, chained = [repr(error), str(error)], error.__cause__ or error.__context__
    assert chained is None
    shown += [caplog.text, *(str(record.__dict__) for record in caplog.records)]
    for text in shown:
        assert KEY not in text
        assert SECRET not in text
