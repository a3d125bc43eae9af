"""How costs grow with the work: `./naru bench --curves`. Each curve is one chart, with its exponent as a number.

Cost ~ work ^ exponent, fitted over all points: 1 is linear, below 1 is better, above 1 is worse. The chart also shows
the exponent of the last step alone, because a large constant cost hides growth. (For answers a second over worker
processes, 1 is linear too, and above 1 is better.)
"""

from tests.bench.curves import fleet, length, load, tables
from tests.bench.curves.curve import Curve

CURVES: tuple[Curve, ...] = (
    load.STREAMS,
    load.PACE,
    length.ANSWER,
    length.HISTORY,
    tables.ROWS,
    fleet.RATE,
    fleet.REST,
)
