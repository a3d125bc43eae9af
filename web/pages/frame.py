"""What all views of one run share: who asks, in which language, which conversation, and the process's runtime.

Nothing is drawn here; what is remembered from run to run is in `web/state.py`.
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
    #: The person's address, as limits count it.
    client: str
    words: Words
    _owner: Owner

    @classmethod
    def of(cls, words: Words) -> Frame | None:
        """The frame of this run; None for a browser that keeps no cookie."""
        owner = state.owner()
        if owner is None:
            return None
        return cls(runtime=current_runtime(), client=state.client(), words=words, _owner=owner)

    @property
    def owner(self) -> Owner:
        """Whose run this is. Raises NotFound when the connection is now another owner's: callbacks and fragments run
        with the frame of an earlier run."""
        if state.owner() != self._owner:
            raise NotFound
        return self._owner

    @property
    def engine(self) -> Engine:
        """The process's one engine."""
        return self.runtime.engine
