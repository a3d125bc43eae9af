"""What must be true of a hostile text, whatever it is. Not here: how it is drawn (rig.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.fuzz.rig import Shown

#: A text's height grows with its characters only: a blank line between two headings is the most that they get.
MOST_PX_PER_CHARACTER = 40
MOST_PX = 1800
#: Marks alone show nothing, but one renderer's nothing may be the other's escaped mark.
_SPACE = re.compile(r"\s+")


def findings(shown: Shown) -> Iterator[str]:
    """Each sentence is something that must not be."""
    for name, look in (("streamlit", shown.streamlit), ("live", shown.live)):
        yield from (f"{name}: {fault}" for fault in look.faults)
        limit = MOST_PX + MOST_PX_PER_CHARACTER * len(shown.source)
        if look.height > limit:
            yield f"{name}: {look.height} px high for {len(shown.source)} characters"
    if shown.streamlit.shape != shown.live.shape:
        yield f"shapes differ:\n  {shown.streamlit.shape!r}\n  {shown.live.shape!r}"
    elif abs(shown.streamlit.height - shown.live.height) > 1:
        yield f"heights differ: {shown.streamlit.height} and {shown.live.height} px"
