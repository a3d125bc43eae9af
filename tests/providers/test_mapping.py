"""Tests that the mapping knows every error class of the SDKs and transports, also those of a new version."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType

import aiohttp
import httpx2
import pytest
from aiohttp import client_exceptions

from shared import errors
from tests.providers import test_failures
from workers.providers.mapping import KIND_BY_CLASS, Evidence, mapped

#: Status classes that no test in test_failures.py raises, each with the reason.
NOT_RAISED = {
    "openai.APIResponseValidationError": "strict validation is off, and raw events are not validated",
    "openai.OAuthError": "workload identity, which is not used",
    "anthropic.APIResponseValidationError": "strict validation is off, and raw events are not validated",
}


@pytest.fixture(scope="module")
def sdks() -> dict[str, ModuleType]:
    """Return the vendors' SDKs by name, imported only in the pytest process that runs these tests."""
    return {name: importlib.import_module(name) for name in ("openai", "anthropic")}


def classes_of(module: ModuleType) -> Iterator[type[Exception]]:
    for _, value in inspect.getmembers(module, inspect.isclass):
        if issubclass(value, Exception) and not issubclass(value, Warning):
            yield value


def all_classes(sdks: dict[str, ModuleType]) -> list[type[Exception]]:
    modules = [*sdks.values(), *(sdk._exceptions for sdk in sdks.values()), httpx2, client_exceptions]
    return sorted({each for module in modules for each in classes_of(module)}, key=str)


def name_of(error: type[BaseException]) -> str:
    return f"{error.__module__.split('.')[0]}.{error.__name__}"


def test_error_classes_have_an_entry_or_inherit_one(sdks: dict[str, ModuleType]) -> None:
    classes = all_classes(sdks)
    assert len(classes) > 50
    for error in classes:
        entries = {name_of(base) for base in error.__mro__} & KIND_BY_CLASS.keys()
        assert entries, f"{name_of(error)} is not mapped; add it to KIND_BY_CLASS"
        bare = error.__new__(error)
        assert isinstance(mapped(bare, name="x", started=False), errors.ProviderError), name_of(error)


def test_every_status_class_is_raised_over_http(sdks: dict[str, ModuleType]) -> None:
    """`test_failures` names the class that each fault raises; together these cover all status classes."""
    for column, module in sdks.items():
        raised = {name for case in test_failures.CASES for name in getattr(case, column).split("|")}
        for error in classes_of(module._exceptions):
            if issubclass(error, module.APIStatusError) and name_of(error) not in NOT_RAISED:
                assert error.__name__ in raised, f"{name_of(error)} is never raised in test_failures.py"


@pytest.mark.parametrize(
    ("error", "started", "kind"),
    [
        (httpx2.ConnectError(""), False, errors.ConnectFailed),
        (httpx2.ReadError(""), True, errors.StreamBroken),
        (httpx2.PoolTimeout(""), False, errors.ConnectFailed),
        (httpx2.RemoteProtocolError(""), True, errors.StreamBroken),
        (httpx2.UnsupportedProtocol(""), False, errors.BadRequest),
        (aiohttp.ServerDisconnectedError(), False, errors.ConnectFailed),
        (aiohttp.ClientPayloadError(), True, errors.StreamBroken),
        (TimeoutError(), True, errors.StreamBroken),
        (ConnectionResetError(), True, errors.StreamBroken),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), True, errors.BadStream),
        (KeyError("type"), True, errors.BadStream),
        (ImportError("openai"), False, errors.BadRequest),
        (ZeroDivisionError(), True, errors.ServerFailed),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_mapping_handles_errors_without_a_reply(
    error: Exception, started: bool, kind: type[errors.ProviderError]
) -> None:
    assert type(mapped(error, name="x", started=started)) is kind


def test_mapping_prefers_the_cause_of_an_sdk_error(sdks: dict[str, ModuleType]) -> None:
    request = httpx2.Request("POST", "http://x")
    error = sdks["openai"].APIConnectionError(request=request)
    error.__cause__ = httpx2.DecodingError("")
    assert type(mapped(error, name="x", started=True)) is errors.BadStream


def test_unmapped_cause_leaves_the_error_unchanged() -> None:
    error = httpx2.ConnectTimeout("")
    error.__cause__ = TimeoutError()
    error.__cause__.__cause__ = asyncio.CancelledError()
    assert type(mapped(error, name="x", started=False)) is errors.ConnectFailed


@pytest.mark.parametrize(
    ("evidence", "kind"),
    [
        (
            Evidence(429, ("rate_limit_exceeded",), "request too large for gpt on tokens per min"),
            errors.ContextTooLong,
        ),
        (Evidence(None, ("502",), ""), errors.ServerFailed),
        (Evidence(400, (), "the input exceeds the available context size"), errors.ContextTooLong),
        (Evidence(401, (), "context length"), errors.AuthFailed),
        (Evidence(429, (), "you exceeded your current quota"), errors.QuotaExhausted),
    ],
)
def test_mapping_reads_error_messages(
    sdks: dict[str, ModuleType], evidence: Evidence, kind: type[errors.ProviderError]
) -> None:
    error = reply(sdks["openai"], evidence)
    assert type(mapped(error, name="x", started=False)) is kind


def reply(openai: ModuleType, evidence: Evidence) -> Exception:
    request = httpx2.Request("POST", "http://x")
    body = {"message": evidence.text, "code": evidence.codes[0] if evidence.codes else None}
    error: Exception
    if evidence.status is None:
        error = openai.APIError("", request=request, body=body)
    else:
        error = openai.APIStatusError("", response=httpx2.Response(evidence.status, request=request), body=body)
    return error
