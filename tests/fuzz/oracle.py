"""Invariants of every rendered hostile text. rig.py renders it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.rig import Shown

#: Height may grow only with a text's length; a blank line between two headings takes the most per character.
MOST_PX_PER_CHARACTER = 40
MOST_PX = 1800


def findings(shown: Shown) -> Iterator[str]:
    """Yield a sentence for each violation."""
    for name, look in (("streamlit", shown.streamlit), ("live", shown.live)):
        yield from (f"{name}: {fault}" for fault in look.faults)
        limit = MOST_PX + MOST_PX_PER_CHARACTER * len(shown.source)
        if look.height > limit:
            yield f"{name}: {look.height} px high for {len(shown.source)} characters"
    if shown.streamlit.shape != shown.live.shape:
        yield f"shapes differ:\n  {shown.streamlit.shape!r}\n  {shown.live.shape!r}"
    elif abs(shown.streamlit.height - shown.live.height) > 1:
        yield f"heights differ: {shown.streamlit.height} and {shown.live.height} px"
