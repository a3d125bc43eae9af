"""The context of one run: owner, language, conversation and runtime.

Values kept between runs are in `web/state/`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from shared.errors import NotFound
from shared.people import Owner
from shared.words import Words
from web import state
from web.runtime import Runtime, current_runtime


@dataclass(frozen=True, slots=True)
class Frame:
    """One run of the page for one owner."""

    runtime: Runtime
    #: The address, as limits count it.
    client: str
    words: Words
    _owner: Owner

    @classmethod
    def of(cls, words: Words) -> Frame | None:
        """Return the frame of this run; None for a browser without a valid cookie."""
        owner = state.owner()
        if owner is None:
            return None
        return cls(runtime=current_runtime(), client=state.client(), words=words, _owner=owner)

    @property
    def owner(self) -> Owner:
        """The owner of this run. Raises NotFound if the connection now belongs to another owner.

        Callbacks and fragments run with the frame of an earlier run.
        """
        if state.owner() != self._owner:
            raise NotFound
        return self._owner

    @property
    def engine(self) -> Engine:
        """The process's one engine."""
        return self.runtime.engine
