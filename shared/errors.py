"""Every error that Naru raises on purpose, as one tree.

NaruError
├── SettingsError            a variable is missing, malformed, or does not fit another one
├── Refused                  a person's request cannot be met now; nothing was stored, and the page keeps the text
│   ├── StillRunning         an answer is still running in this conversation
│   ├── NotFound             unknown, or another owner's; nothing reveals which
│   ├── TooLong              the question is longer than the limit
│   ├── Empty                the question has no text
│   ├── NothingToAnswer      "regenerate" in a conversation without a question
│   ├── UnknownModel         no worker offers this model; or all are hidden: shared/fleet.py
│   ├── PersonalData         the question seems to contain personal data or a secret
│   │   └── HoldsResidentNumber, HoldsCardNumber, HoldsKey
│   ├── AccountRefused       someone cannot sign in, or cannot have this account or this password
│   │   ├── WrongPassword    no such account, not its password, or it is disabled; nothing reveals which
│   │   ├── TooManySignIns   too many failed attempts for this account or from this address
│   │   ├── BadLink, InvitationNeeded, BadEmail, EmailTaken
│   │   ├── PasswordTooShort, PasswordTooLong
│   │   ├── PasswordTooEasy  common, or easily guessed
│   │   ├── LastAdmin        nobody would be left to administer the accounts
│   │   └── … and those of company sign-in: shared/people/refusals.py
│   ├── OverLimit            too many questions; each of these says when to try again
│   │   ├── TooManyActive    too many of the owner's questions wait or run
│   │   ├── OwnerTooFast     too many questions of the owner in the last minute
│   │   ├── AddressTooFast   too many questions from the owner's address in the last minute
│   │   └── QueueFull        too many questions of everybody wait in the model's lane
│   └── Unavailable          Postgres does not answer
│       └── Unsure           it went away while storing: the only refusal after which the question may be stored
└── ProviderError            a provider did not give a complete answer
    ├── retryable            RateLimited, Overloaded, ServerFailed, ConnectFailed, StreamBroken, BadStream,
    │                        FirstTokenTimeout, IdleTimeout
    └── final                QuotaExhausted, AuthFailed, ModelNotFound, ContextTooLong, ContentFiltered, BadRequest,
                             TotalTimeout, ThinkingTimeout, WrongAddress

`code` is stored in the row, selects the sentence (`error.<code>`) and labels the metric. `retryable`: another attempt
can help. A class's docstring is its default message. None holds a prompt, an answer or a key.
"""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID


class NaruError(Exception):
    """Something went wrong in Naru."""

    code: str = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n", 1)[0])


class SettingsError(NaruError):
    """A setting is missing or wrong."""

    code = "settings"


class Refused(NaruError):
    """This can't be done right now."""

    code = "refused"


class StillRunning(Refused):
    """An answer is still running in this chat."""

    code = "still_running"

    def __init__(self, request_id: UUID | None = None) -> None:
        super().__init__()
        self.request_id = request_id


class NotFound(Refused):
    """This was deleted, or you can't see it."""

    code = "not_found"


class TooLong(Refused):
    """The question is too long."""

    code = "too_long"

    def __init__(self, length: int = 0, limit: int = 0) -> None:
        super().__init__(f"The question has {length} characters; the limit is {limit}.")
        self.length, self.limit = length, limit


class Empty(Refused):
    """The question has no text."""

    code = "empty"


class NothingToAnswer(Refused):
    """There is no question here to answer."""

    code = "nothing_to_answer"


class UnknownModel(Refused):
    """This model is not available right now."""

    code = "unknown_model"


class PersonalData(Refused):
    """The question seems to contain personal data."""

    code = "personal_data"

    def __init__(self, *, is_final: bool = False) -> None:
        """`is_final`: it is refused again when it is sent again."""
        super().__init__()
        self.is_final = is_final


class HoldsResidentNumber(PersonalData):
    """The question seems to contain a resident registration number."""

    code = "resident_number"


class HoldsCardNumber(PersonalData):
    """The question seems to contain a card number."""

    code = "card_number"


class HoldsKey(PersonalData):
    """The question seems to contain a key or a token."""

    code = "access_key"


class AccountRefused(Refused):
    """This account can't be used right now."""

    code = "account_refused"


class WrongPassword(AccountRefused):
    """The e-mail address or the password is wrong."""

    code = "wrong_password"


class TooManySignIns(AccountRefused):
    """Too many attempts to sign in failed."""

    code = "too_many_sign_ins"

    def __init__(self, minutes: int = 0) -> None:
        """`minutes` is the time until the next attempt is allowed."""
        super().__init__()
        self.minutes = minutes


class BadLink(AccountRefused):
    """This link has expired or was used already."""

    code = "bad_link"


class InvitationNeeded(AccountRefused):
    """An account can be made only with an invitation."""

    code = "invitation_needed"


class BadEmail(AccountRefused):
    """This is not an e-mail address."""

    code = "bad_email"


class EmailTaken(AccountRefused):
    """There is an account with this e-mail address already."""

    code = "email_taken"


class PasswordTooShort(AccountRefused):
    """The password is too short."""

    code = "password_too_short"


class PasswordTooLong(AccountRefused):
    """The password is too long."""

    code = "password_too_long"


class PasswordTooEasy(AccountRefused):
    """The password is too easy to guess."""

    code = "password_too_easy"


class LastAdmin(AccountRefused):
    """This is the only administrator."""

    code = "last_admin"


class OverLimit(Refused):
    """Too many questions at once."""

    code = "over_limit"

    def __init__(self, limit: int = 0, seconds: int = 0) -> None:
        """`limit` is the limit that was reached; `seconds` the time until a retry can succeed, 0 if unknown."""
        sentences = [(type(self).__doc__ or "").split("\n", 1)[0]]
        if limit:
            sentences.append(f"The limit is {limit}.")
        if seconds:
            sentences.append(f"Try again in {seconds} s.")
        super().__init__(" ".join(sentences))
        self.limit, self.seconds = limit, seconds


class TooManyActive(OverLimit):
    """Too many of your questions are waiting or being answered; wait for an answer, or stop one."""

    code = "too_many_active"


class OwnerTooFast(OverLimit):
    """You sent too many questions in a minute."""

    code = "owner_too_fast"


class AddressTooFast(OverLimit):
    """Too many questions per minute come from this address."""

    code = "address_too_fast"


class QueueFull(OverLimit):
    """Too many questions wait for this model."""

    code = "queue_full"


class Unavailable(Refused):
    """The database does not respond right now."""

    code = "unavailable"


class Unsure(Unavailable):
    """The database went away while this was being saved."""

    code = "unsure"


class ProviderError(NaruError):
    """The provider did not give a complete answer.

    `retry_after_seconds` is the wait that it asked for, `provider_request_id` its id of the call; each may be None.
    """

    code = "provider"

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_seconds: float | None = None,
        provider_request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds, self.provider_request_id = retry_after_seconds, provider_request_id


class RateLimited(ProviderError):
    """The provider asks us to slow down."""

    code = "rate_limited"
    retryable = True


class Overloaded(ProviderError):
    """The provider is overloaded."""

    code = "overloaded"
    retryable = True


class ServerFailed(ProviderError):
    """The provider failed on its side."""

    code = "server_failed"
    retryable = True


class ConnectFailed(ProviderError):
    """The provider could not be reached."""

    code = "connect_failed"
    retryable = True


class StreamBroken(ProviderError):
    """The provider's stream ended before its finish mark."""

    code = "stream_broken"
    retryable = True


class BadStream(ProviderError):
    """The provider sent something that is not its protocol."""

    code = "bad_stream"
    retryable = True


class FirstTokenTimeout(ProviderError):
    """The model did not begin to answer in time."""

    code = "first_token_timeout"
    retryable = True


class IdleTimeout(ProviderError):
    """The model stopped responding in the middle of its answer."""

    code = "idle_timeout"
    retryable = True


class TotalTimeout(ProviderError):
    """The answer took longer than an answer may take."""

    code = "total_timeout"


class QuotaExhausted(ProviderError):
    """The provider's quota or credit is used up."""

    code = "quota_exhausted"


class AuthFailed(ProviderError):
    """The provider refused our key."""

    code = "auth_failed"


class ModelNotFound(ProviderError):
    """The provider does not know this model."""

    code = "model_not_found"


class ContextTooLong(ProviderError):
    """The chat is longer than the model can read."""

    code = "context_too_long"


class ThinkingTimeout(ProviderError):
    """The model thought the whole time and wrote nothing."""

    code = "thinking_timeout"


class ContentFiltered(ProviderError):
    """The provider's filter refused this."""

    code = "content_filtered"


class BadRequest(ProviderError):
    """The provider refused the request as malformed."""

    code = "bad_request"


class WrongAddress(ProviderError):
    """The provider's address shows a web page or redirects elsewhere."""

    code = "wrong_address"


#: Codes that no provider reports; the reconciler and the lifecycle set them.
DEADLINE = "deadline"
WORKER_LOST = "worker_lost"
RESTORED = "restored"  # it was running when the backup was taken that this database was restored from
UNSERVED = "unserved"  # no worker has served its model for too long, although other workers were live
OTHERS_FIRST = "others_first"  # other answers of the owner or group, still running, have reserved what is left
PACED = "paced"  # the provider's tokens per minute are used up
PRICE_UNKNOWN = "price_unknown"  # NARU_UNKNOWN_PRICE refuses models without a price where money is limited
INTERNAL = NaruError.code
