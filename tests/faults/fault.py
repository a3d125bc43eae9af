"""The registry of the faults in the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.rig import CannotInject, Shape

if TYPE_CHECKING:
    from tests.faults.shot import Shot

__all__ = ["FAULTS", "CannotInject", "Fault", "fault"]
Injection = Callable[["Shot"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of the catalogue. `inject` is called once per shot, on a rig of `shape`."""

    number: int
    name: str
    inject: Injection
    shape: Shape
    times: int
    #: Describes the start and the end of the recovery time.
    recovery: str
    #: Every request must end within this time after the shot.
    patience: float
    #: Requests may fail with the provider's codes (`checker.PROVIDERS_FAULT`).
    strikes_provider: bool


FAULTS: dict[int, Fault] = {}


def fault(
    number: int,
    name: str,
    *,
    recovery: str,
    times: int = 20,
    shape: Shape | None = None,
    patience: float = 60.0,
    strikes_provider: bool = False,
) -> Callable[[Injection], Injection]:
    """Register a function in the catalogue."""

    def enter(inject: Injection) -> Injection:
        assert number not in FAULTS, number
        FAULTS[number] = Fault(
            number=number,
            name=name,
            inject=inject,
            shape=shape or Shape(),
            times=times,
            recovery=recovery,
            patience=patience,
            strikes_provider=strikes_provider,
        )
        return inject

    return enter
