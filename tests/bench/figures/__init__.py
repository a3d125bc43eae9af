"""All figures, in the order of the table. Each module says how it measures; none asserts on speed."""

from tests.bench.figure import Figure
from tests.bench.figures import (
    arriving,
    burst,
    capacity,
    cpu,
    first_text,
    idle,
    instead,
    kills,
    live_memory,
    memory,
    page,
    path,
    reloads,
    short,
    starting,
    stops,
    submits,
    viewers,
)

FIGURES: tuple[Figure, ...] = (
    starting.FIGURE,
    memory.FIGURE,
    idle.FIGURE,
    page.FIGURE,
    burst.FIGURE,
    submits.FIGURE,
    first_text.FIGURE,
    arriving.FIGURE,
    instead.FIGURE,
    cpu.FIGURE,
    path.FIGURE,
    capacity.FIGURE,
    viewers.FIGURE,
    short.FIGURE,
    live_memory.FIGURE,
    kills.FIGURE,
    stops.FIGURE,
    reloads.FIGURE,
)
