"""What costs grow with: `./naru bench --curves`. Each curve is one picture, and its exponent is a number.

Cost ~ work ^ exponent, fitted over all points: 1 is linear, below 1 better, above 1 worse. Beside it stands the
exponent of the last step alone: a cost that rests on a large constant hides how it grows. (Of answers a second over
worker processes 1 is linear, too, and above is better.)
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
