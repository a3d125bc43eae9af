"""The faults, by kind; importing this enters all of them into the register."""

from tests.faults.catalogue import postgres, redis, worker
from tests.faults.fault import FAULTS

__all__ = ["FAULTS", "postgres", "redis", "worker"]
