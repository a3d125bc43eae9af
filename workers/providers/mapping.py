"""Maps every exception of a provider call to one ProviderError of `shared/errors.py`.

A vendor's SDK, its transport and its server have different error trees; `mapped()` unites them. It compares class
names, so that this module imports no SDK. The messages are made here and never quote a provider's own words, which may
repeat the prompt or the key. `workers/answering/retries.py` decides on retries.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from shared import errors
from shared.errors import ProviderError
from workers.providers.windows import Stated, WindowExceeded, stated_in

#: Cap on the wait that a provider asks for. A setting limits how long Naru actually waits.
LONGEST_RETRY_AFTER_SECONDS = 3600.0

Kind = type[ProviderError]

_CODE_KEYS = ("code", "type", "status", "status_code", "statusCode")
_TEXT_KEYS = ("message", "msg", "details")
#: `{"errors": [{"error": {…}}]}` has four.
_MOST_LAYERS = 5

#: Codes and types with the same meaning in every error.
_BY_CODE: dict[str, Kind] = {
    **dict.fromkeys(
        ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error",
         "credit_balance_too_low", "insufficient_credits", "insufficient_funds"),
        errors.QuotaExhausted,
    ),
    **dict.fromkeys(
        ("context_length_exceeded", "context_window_exceeded", "model_context_window_exceeded",
         "request_too_large",
         "exceed_context_size_error"),
        errors.ContextTooLong,
    ),
    **dict.fromkeys(
        ("content_filter", "content_policy_violation", "responsible_ai_policy_violation", "invalid_prompt",
         "content_filtered", "cyber_policy_violation", "bio_policy", "misalignment_policy_violation"),
        errors.ContentFiltered,
    ),
    **dict.fromkeys(
        ("invalid_api_key", "authentication_error", "permission_error", "permission_denied",
         "account_deactivated",
         "invalid_organization", "unsupported_country_region_territory", "invalid_grant", "unauthorized",
         "no_db_connection"),  # LiteLLM without a database, for a key that is not its master key
        errors.AuthFailed,
    ),
    **dict.fromkeys(("model_not_found", "not_found_error", "deployment_not_found"), errors.ModelNotFound),
    **dict.fromkeys(
        ("rate_limit_exceeded", "rate_limit_error", "rate_limited", "resource_exhausted"), errors.RateLimited
    ),
    **dict.fromkeys(
        ("overloaded_error", "overloaded", "engine_overloaded", "server_overloaded", "server_is_overloaded",
         "slow_down", "service_unavailable"),
        errors.Overloaded,
    ),
}  # fmt: skip

#: Types so broad that the HTTP status comes first.
_BY_BROAD_TYPE: dict[str, Kind] = {
    "invalid_request_error": errors.BadRequest,
    "requests": errors.RateLimited,
    "tokens": errors.RateLimited,
}

#: Phrases of servers that send no code. They count only with the statuses below, which refuse the request.
_BY_PHRASE: tuple[tuple[str, Kind], ...] = (
    ("prompt is too long", errors.ContextTooLong),
    ("context length", errors.ContextTooLong),
    ("context window", errors.ContextTooLong),
    ("context limit", errors.ContextTooLong),
    ("context size", errors.ContextTooLong),
    ("request too large", errors.ContextTooLong),
    ("input is too long", errors.ContextTooLong),
    ("prompt too long", errors.ContextTooLong),
    ("maximum prompt length", errors.ContextTooLong),
    ("maximum number of tokens allowed", errors.ContextTooLong),
    ("maximum model length", errors.ContextTooLong),
    ("`max_new_tokens` must be <=", errors.ContextTooLong),
    ("invalid model name", errors.ModelNotFound),
    ("unknown model", errors.ModelNotFound),
    ("no such model", errors.ModelNotFound),
    ("not a valid model", errors.ModelNotFound),
    ("model not found", errors.ModelNotFound),
    ("credit balance is too low", errors.QuotaExhausted),
    ("exceeded your current quota", errors.QuotaExhausted),
    ("content filtering policy", errors.ContentFiltered),
    ("content management policy", errors.ContentFiltered),
)
_PHRASED_STATUSES = frozenset({None, 400, 413, 422, 429})

_BY_STATUS: dict[int, Kind] = {
    401: errors.AuthFailed,
    402: errors.QuotaExhausted,
    403: errors.AuthFailed,
    404: errors.ModelNotFound,
    # The server is busy with the same request, or gave up waiting: the next call may succeed.
    408: errors.ServerFailed,
    409: errors.ServerFailed,
    413: errors.ContextTooLong,
    425: errors.ServerFailed,
    429: errors.RateLimited,
    499: errors.ServerFailed,
    501: errors.BadRequest,
    503: errors.Overloaded,
    529: errors.Overloaded,
}

#: A failed connection: ConnectFailed before the answer began, StreamBroken after.
_LINK = ProviderError

#: By "root module.class". A class without an entry inherits the one of its nearest base.
KIND_BY_CLASS: dict[str, Kind] = {
    "openai.APIConnectionError": _LINK,
    "openai.APIResponseValidationError": errors.BadStream,
    "openai.APIError": errors.ServerFailed,
    "openai.ContentFilterFinishReasonError": errors.ContentFiltered,
    "openai.SubjectTokenProviderError": errors.AuthFailed,
    "openai.WebSocketConnectionClosedError": errors.StreamBroken,
    "openai.InvalidWebhookSignatureError": errors.BadRequest,
    "openai.OpenAIError": errors.BadRequest,
    "anthropic.APIConnectionError": _LINK,
    "anthropic.APIResponseValidationError": errors.BadStream,
    "anthropic.APIWebhookValidationError": errors.BadRequest,
    "anthropic.APIError": errors.ServerFailed,
    "anthropic.CredentialsError": errors.AuthFailed,
    "anthropic.RetryableError": errors.ServerFailed,
    "anthropic.AnthropicError": errors.BadRequest,
    "httpx2.UnsupportedProtocol": errors.BadRequest,
    "httpx2.LocalProtocolError": errors.BadRequest,
    "httpx2.TooManyRedirects": errors.BadRequest,
    "httpx2.InvalidURL": errors.BadRequest,
    "httpx2.CookieConflict": errors.BadRequest,
    "httpx2.DecodingError": errors.BadStream,
    "httpx2.StreamError": errors.StreamBroken,
    "httpx2.HTTPError": _LINK,
    "aiohttp.InvalidURL": errors.BadRequest,
    "aiohttp.RedirectClientError": errors.BadRequest,
    "aiohttp.TooManyRedirects": errors.BadRequest,
    "aiohttp.NonHttpUrlClientError": errors.BadRequest,
    "aiohttp.ClientHttpProxyError": _LINK,
    "aiohttp.ClientResponseError": errors.BadStream,  # the reply is not HTTP
    "aiohttp.ClientPayloadError": errors.StreamBroken,
    "aiohttp.WSMessageTypeError": errors.BadStream,
    "aiohttp.ClientError": _LINK,
    "workers.ErrorEvent": errors.ServerFailed,
    "anyio.EndOfStream": _LINK,
    "anyio.BrokenResourceError": _LINK,
    "anyio.ClosedResourceError": _LINK,
    "builtins.OSError": _LINK,  # sockets, TLS, timeouts
    "builtins.EOFError": _LINK,
    "builtins.UnicodeEncodeError": errors.BadRequest,  # a prompt that is not text
    "builtins.ImportError": errors.BadRequest,  # the SDK is not installed: a retry cannot help
    # Events that break the protocol; json.JSONDecodeError and UnicodeDecodeError are ValueErrors.
    "builtins.ValueError": errors.BadStream,
    "builtins.TypeError": errors.BadStream,
    "builtins.AttributeError": errors.BadStream,
    "builtins.LookupError": errors.BadStream,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The parts of a provider's reply in an SDK's error. They decide the mapping and are never shown."""

    status: int | None = None
    codes: tuple[str, ...] = ()
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def mapped(error: Exception, *, name: str, started: bool, request_id: str | None = None) -> ProviderError:
    """Return the ProviderError for `error` from provider `name`. `started` is True once the answer began to arrive."""
    if isinstance(error, ProviderError):
        return error
    evidence = evidence_of(error)
    kind = _kind_of(error, evidence)
    if kind is _LINK:
        kind = errors.StreamBroken if started else errors.ConnectFailed
    stated = stated_in(evidence.text) if kind is errors.ContextTooLong else Stated()
    found = (WindowExceeded if stated.window else kind)(
        _sentence(name, kind, evidence),
        retry_after_seconds=retry_after(evidence.headers),
        provider_request_id=request_id_of(evidence.headers) or request_id,
    )
    if isinstance(found, WindowExceeded):
        found.stated = stated
    return found


def evidence_of(error: Exception) -> Evidence:
    """Return the evidence in an SDK's error; empty for an error without a reply."""
    body = getattr(error, "body", None)
    codes, text = _codes_and_text(body)
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) or status < 300:  # an error event in a reply of 200
        status = next((int(code) for code in codes if re.fullmatch(r"[345]\d\d", code)), None)
    headers = getattr(getattr(error, "response", None), "headers", None)
    return Evidence(status, tuple(codes), text[:4000].lower(), headers if headers is not None else {})


def refuses_key(body: object) -> bool:
    """Return whether the JSON of an error says that the key is wrong, whatever its status."""
    codes, _ = _codes_and_text(body)
    return any(_BY_CODE.get(code) is errors.AuthFailed for code in codes)


def _codes_and_text(body: object) -> tuple[list[str], str]:
    """Return the codes and the message in the JSON of an error, in any of the forms that servers use."""
    layers = [body]
    while isinstance(layers[-1], Mapping | list) and len(layers) < _MOST_LAYERS:
        last = layers[-1]
        if isinstance(last, Mapping):
            layers.append(last.get("error") or last.get("errors") or last.get("detail"))
        else:
            layers.append(last[0] if last else None)
    codes: list[str] = []
    texts: list[str] = []
    for layer in reversed(layers):  # the innermost one says most
        if isinstance(layer, str):
            texts.append(layer)
        elif isinstance(layer, Mapping):
            details = layer.get("details")
            found = [layer.get(name) for name in _CODE_KEYS]
            found.append(details.get("error_code") if isinstance(details, Mapping) else None)
            codes += [str(code).lower() for code in found if isinstance(code, str | int)]
            texts += [said for name in _TEXT_KEYS if isinstance(said := layer.get(name), str)]
    return codes, " ".join(texts)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait in seconds that `retry-after-ms` or `Retry-After` (seconds or an HTTP date) asks for."""
    for header, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(header, "")) * scale
        except ValueError:
            continue
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)
    return _until_date(headers.get("retry-after"), headers.get("date"))


def _until_date(date: str | None, sent: str | None) -> float | None:
    """Return the seconds until an HTTP date, counted from the reply's own `Date` if it has one: clocks differ."""
    moment = _moment(date)
    if moment is None:
        return None
    seconds = (moment - (_moment(sent) or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _moment(date: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the provider's id of the call; None if there is none or it is malformed."""
    found = headers.get("x-request-id") or headers.get("request-id")
    return found if found and re.fullmatch(r"[\w.:/-]{1,128}", found) else None


def _kind_of(error: Exception, evidence: Evidence) -> Kind:
    for code in evidence.codes:
        if code in _BY_CODE and not _too_large_for_limit(evidence):
            return _BY_CODE[code]
    if evidence.status in _PHRASED_STATUSES and evidence.text:
        for phrase, kind in _BY_PHRASE:
            if phrase in evidence.text:
                return kind
    if evidence.status is not None:
        if evidence.status < 400:  # redirects are not followed: they would carry prompt and key to another host
            return errors.WrongAddress
        return _BY_STATUS.get(evidence.status) or (errors.ServerFailed if evidence.status >= 500 else errors.BadRequest)
    broad = next((_BY_BROAD_TYPE[code] for code in evidence.codes if code in _BY_BROAD_TYPE), None)
    return broad or _kind_of_class(error) or errors.ServerFailed


def _too_large_for_limit(evidence: Evidence) -> bool:
    """Return whether a rate limit is permanent: OpenAI sends one for a prompt above the limit of a full minute."""
    return evidence.status == 429 and "request too large" in evidence.text


def _kind_of_class(error: BaseException) -> Kind | None:
    for cls in type(error).__mro__:
        kind = KIND_BY_CLASS.get(f"{cls.__module__.split('.', 1)[0]}.{cls.__name__}")
        if kind is _LINK and error.__cause__ is not None:
            # SDKs wrap many errors in a connection error; the wrapped one says more.
            return _kind_of_class(error.__cause__) or kind
        if kind is not None:
            return kind
    return None


def _sentence(name: str, kind: Kind, evidence: Evidence) -> str:
    said = str(kind.__doc__).split("\n", 1)[0]
    known = next((code for code in evidence.codes if code in _BY_CODE or code in _BY_BROAD_TYPE), None)
    facts = [str(part) for part in (evidence.status, known) if part is not None]
    return f"{name}: {said}" + (f" ({', '.join(facts)})" if facts else "")
