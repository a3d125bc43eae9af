"""The bench: `./naru bench [--quick] [--only NAME …] [--json FILE]`.

It runs real PostgreSQL and Redis (durable, as `up` starts them) and real web, worker and simulator processes with the
product's default settings. Ratios compare a figure with the direct call of the vendor's SDK in the same run. Each
figure is a module in `figures/`; the curves (`--curves`) are in `curves/`. They share these modules:

    figure        defines figures, sizes of a run, and CannotMeasure
    stacks        the processes that a figure measures
    asking        a browser's identity, and questions sent as the page sends them
    event_stream  a cheap client of the event stream that notes the time of each byte
    writing       a program that writes live streams with the product's publisher, like a worker without a provider
    metering      the servers' load, and their highest rate
    filling       bulk rows, made in SQL
    words         questions for the simulator, and a parser for its clocked answers
    journal       the simulator's own log of its calls
    crowd         the load: many answers at once, watched
    evenness      delays and gaps of many answers; whether a load holds
    climbing      the highest load that holds
    direct        a program that asks through the SDK, or without it (by_hand); direct_call drives it
    textbook_chat a Celery chat as tutorials build it
    baselines     these three, measured once per run
    chromium      a browser, if one is installed
    visiting      visits to the page in that browser
    launching     `./naru up` as a child process
    processes     CPU time, memory and cores of processes
    noise         checks that the machine was quiet enough to trust a figure
    table         the table at the end

A slow figure never fails a run; lost or doubled text and failed measurements do.
"""
