"""All figures, in the order of the table. Each module says how it measures; none asserts on speed."""

from tests.bench.figure import Figure
from tests.bench.figures import (
    burst,
    capacity,
    cpu,
    first_text,
    instead,
    kills,
    memory,
    page,
    reloads,
    starting,
    stops,
)

FIGURES: tuple[Figure, ...] = (
    starting.FIGURE,
    memory.FIGURE,
    page.FIGURE,
    burst.FIGURE,
    first_text.FIGURE,
    cpu.FIGURE,
    instead.FIGURE,
    capacity.FIGURE,
    kills.FIGURE,
    stops.FIGURE,
    reloads.FIGURE,
)
