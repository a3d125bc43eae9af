"""The faults, by kind; importing this enters all of them into the register."""

from tests.faults.catalogue import clock, network, postgres, provider, redis, web, worker
from tests.faults.fault import FAULTS

__all__ = ["FAULTS", "clock", "network", "postgres", "provider", "redis", "web", "worker"]
