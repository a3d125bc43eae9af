"""The second factor: codes from an app (TOTP, RFC 6238), and recovery codes for somebody who has lost it.

A person begins with a new secret. It is in their page only, sealed, until they have entered a code that was made from
it; so nobody else can have seen or replaced it. A code is accepted
for its own half minute and the ones beside it, and only once: the row keeps the time step of the last one. Recovery
codes are hashed; their 80 random bits need no salt.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from base64 import b32encode
from dataclasses import dataclass, field
from uuid import UUID

import pyotp
from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import audit
from shared.audit import Kind
from shared.errors import AccountRefused, BadLink
from shared.people.factors import remove_in
from shared.people.owner import Owner
from shared.people.sealing import Sealing, Unreadable
from shared.people.sessions import end_all_in
from shared.people.tokens import hash_of
from shared.postgres.database import transaction
from shared.tables import recovery_code, second_factor

log = logging.getLogger(__name__)

STEP_SECONDS = 30
#: Steps on both sides of the present one that are accepted, for clocks that differ and people who type slowly.
SKEW_STEPS = 1
RECOVERY_CODES = 10
#: 120 bits, so that a fast hash protects them (OWASP ASVS 6.5.2: 112).
_RECOVERY_BYTES = 15
#: A person enters the first code within this time.
BEGUN_SECONDS = 3600
_F, _R = second_factor.c, recovery_code.c


class WrongCode(AccountRefused):
    """The code is wrong, or was used already."""

    code = "wrong_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A secret that does not count yet. `address` is what an app reads from the QR code; a page keeps `sealed`."""

    secret: str = field(repr=False)
    sealed: str = field(repr=False)
    address: str = field(repr=False)


def begin(person_id: UUID, email: str, sealing: Sealing) -> Begun:
    """Return a new secret, which the person's page keeps until they enter the first code."""
    secret = pyotp.random_base32()
    return _begun(secret, sealing.seal(f"{person_id}.{secret}"), email)


def begun_again(sealed: str, person_id: UUID, email: str, sealing: Sealing) -> Begun:
    """Return the secret that the person's page kept. Raises BadLink for another person's, or after BEGUN_SECONDS."""
    try:
        whose, _, secret = sealing.open(sealed, seconds=BEGUN_SECONDS).partition(".")
    except Unreadable:
        raise BadLink from None
    if whose != str(person_id):
        raise BadLink
    return _begun(secret, sealed, email)


def switch_on(
    engine: Engine, person_id: UUID, begun: Begun, code: str, sealing: Sealing, *, but: UUID | None = None
) -> list[str]:
    """Let the secret count after its first code; return new recovery codes. Ends all sessions except `but`.

    Raises WrongCode, also for somebody whose factor is on.
    """
    values = {"person_id": person_id, "secret": sealing.seal(begun.secret), "key_id": sealing.key_id}
    with transaction(engine) as connection:
        now = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
        step = _step_of(begun.secret, code, now=int(now), after=0)
        if step is None:
            raise WrongCode
        made = upsert(second_factor).values(**values, last_step=step).on_conflict_do_nothing()
        if not connection.execute(made).rowcount:
            raise WrongCode
        end_all_in(connection, person_id, but=but)
        new = _new_codes(connection, person_id)
        audit.record(connection, Kind.FACTOR_SWITCHED_ON, subject=Owner.person(person_id).key)
        return new


def use_code(engine: Engine, person_id: UUID, code: str, sealing: Sealing) -> None:
    """Accept a code of the app or a recovery code, once. Raises WrongCode."""
    with transaction(engine) as connection:
        _use_code(connection, person_id, code, sealing)


def new_recovery_codes(engine: Engine, person_id: UUID, code: str, sealing: Sealing) -> list[str]:
    """Accept a code, and return new recovery codes instead of the old ones. Raises WrongCode."""
    with transaction(engine) as connection:
        _use_code(connection, person_id, code, sealing)
        new = _new_codes(connection, person_id)
        audit.record(connection, Kind.RECOVERY_CODES_RENEWED, subject=Owner.person(person_id).key)
        return new


def switch_off(engine: Engine, person_id: UUID, code: str, sealing: Sealing, *, but: UUID) -> None:
    """Accept a code, and switch the factor off. Ends all sessions except `but`. Raises WrongCode."""
    with transaction(engine) as connection:
        _use_code(connection, person_id, code, sealing)
        remove_in(connection, person_id)
        end_all_in(connection, person_id, but=but)
        audit.record(connection, Kind.FACTOR_SWITCHED_OFF, subject=Owner.person(person_id).key)


def seal_again(engine: Engine, sealing: Sealing) -> int:
    """Encrypt the secrets of older keys with the newest one; return how many could not be read.

    `naru keys drop` removes the older keys, and a secret that only they can read would be lost.
    """
    unreadable = 0
    with transaction(engine) as connection:
        old = select(_F.person_id, _F.secret).where(_F.key_id != sealing.key_id).with_for_update(skip_locked=True)
        for row in connection.execute(old).all():
            try:
                values = {"secret": sealing.seal(sealing.open(row.secret)), "key_id": sealing.key_id}
            except Unreadable:
                unreadable += 1
                continue
            connection.execute(update(second_factor).where(_F.person_id == row.person_id).values(values))
    return unreadable


def _begun(secret: str, sealed: str, email: str) -> Begun:
    address = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="Naru")
    return Begun(secret=secret, sealed=sealed, address=address)


def _use_code(connection: Connection, person_id: UUID, code: str, sealing: Sealing) -> None:
    # The lock keeps two requests from using one code. The time is Postgres's.
    now = func.extract("epoch", func.clock_timestamp()).label("now")
    found = select(_F.secret, _F.last_step, now).where(_F.person_id == person_id).with_for_update()
    row = connection.execute(found).one_or_none()
    if row is None:
        raise WrongCode
    try:
        step = _step_of(sealing.open(row.secret), code, now=int(row.now), after=row.last_step)
    except Unreadable:
        log.warning("second factor unreadable: its key is gone", extra={"owner": Owner.person(person_id).key})
        step = None
    if step is not None:
        connection.execute(update(second_factor).where(_F.person_id == person_id).values(last_step=step))
        return
    taken = delete(recovery_code).where(_R.person_id == person_id, _R.code_hash == _hash_of(code))
    if not connection.execute(taken).rowcount:
        raise WrongCode


def _step_of(secret: str, code: str, *, now: int, after: int) -> int | None:
    """Return the time step of this code, if it comes `after` that of the last code."""
    digits, codes = "".join(code.split()), pyotp.TOTP(secret)
    present = now // STEP_SECONDS
    for step in range(present - SKEW_STEPS, present + SKEW_STEPS + 1):
        if step > after and hmac.compare_digest(codes.generate_otp(step).encode(), digits.encode()):
            return step
    return None


def _new_codes(connection: Connection, person_id: UUID) -> list[str]:
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    connection.execute(delete(recovery_code).where(_R.person_id == person_id))
    rows = [{"person_id": person_id, "code_hash": _hash_of(code)} for code in codes]
    connection.execute(insert(recovery_code), rows)
    return codes


def _recovery_code() -> str:
    """Return a code such as `k7rp-4mzq-xw2d-c3ha-b5tn-6vey`."""
    text = b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(text[begin : begin + 4] for begin in range(0, len(text), 4))


def _hash_of(code: str) -> bytes:
    """Return the hash of a recovery code, however it was typed."""
    return hash_of("".join(character for character in code.lower() if character.isalnum()))
