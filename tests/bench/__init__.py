"""Measures the figures to reach: `./naru bench [--quick] [--only NAME …] [--json FILE]`.

Real PostgreSQL and Redis (durable, as `up` starts them), real web, worker and simulator processes with the product's
default settings. Ratios pair each figure with the direct call of the vendor's SDK in the same run. One figure is one
module in `figures/`, and a curve (`--curves`) in `curves/`. They share these modules:

    figure        what a figure is, how large a run is, and "this cannot be measured here"
    stacks        the processes that a figure measures
    asking        a browser's identity, and questions sent as the page sends them
    event_stream  a cheap client of the event stream that notes the time of each byte
    writing       a program that writes live streams with the product's publisher, like a worker without a provider
    metering      the servers' load, and their highest rate
    filling       rows by the thousand
    words         parses the simulator's clocked answers
    journal       the simulator's own log of its calls
    crowd         the load: many answers at once, watched
    evenness      delays and gaps of many answers; whether a load holds
    climbing      the highest load that holds
    direct        the direct call of the SDK, and by_hand the same without it, as a program; direct_call drives it
    textbook_chat a Celery chat as tutorials have it
    baselines     these three, measured once in a run
    chromium      a browser, where there is one
    launching     `./naru up` as a child
    processes     processor time, memory and cores of processes
    noise         whether the machine was quiet enough to believe it
    table         the table at the end

Slowness never fails a run; lost or doubled text does.
"""
