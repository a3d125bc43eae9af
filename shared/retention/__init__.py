"""Retention: remove what should be gone, in the background, and all of one person at once.

    slices   removes a bounded number of rows in one transaction
    purge    the thread that does so in each web process
    erasure  everything of one owner

`shared/keeping.py` says what is kept for how long. May import the lifecycle, the tables and `shared.postgres`.
"""

from shared.retention.erasure import Holdings, StillAsking, erase, hide, holdings_of
from shared.retention.purge import Purge
from shared.retention.slices import purge_slice

__all__ = ["Holdings", "Purge", "StillAsking", "erase", "hide", "holdings_of", "purge_slice"]
