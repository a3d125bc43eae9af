"""The figures to reach, measured: `./naru bench [--quick] [--only NAME …] [--json FILE]`.

Real PostgreSQL and Redis (durable, as `up` starts them), real web, worker and simulator processes with the product's
default settings; ratios are paired with the direct call of the vendor's SDK in the same run. One figure is one module
in `figures/`, one curve (`--curves`) stands in `curves/`; what they share stands beside them:

    figure        what a figure is, how large a run is, and "this cannot be measured here"
    stacks        the processes that a figure measures
    asking        a browser's identity, and questions sent as the page sends them
    event_stream  a cheap client of the event stream that notes when each byte came
    writing       live streams written by the product's publisher, as a program: a worker without a provider
    metering      what the servers are asked for, and what they do at most
    filling       rows by the thousand
    words         the simulator's clocked answers, read again
    journal       the simulator's own log of its calls
    crowd         many answers at once, watched: the load
    evenness      delays and gaps of many answers; what it means that a load holds
    climbing      the highest load that holds
    direct        the direct call of the SDK, and by_hand the same without it, as a program; direct_call drives it
    textbook_chat a Celery chat as tutorials have it
    baselines     these three, measured once in a run
    chromium      a browser, where there is one
    launching     `./naru up` as a child
    processes     processor time, memory and cores of processes
    noise         whether the machine was quiet enough to believe it
    table         what is printed at the end

Nothing here fails because something is slow; what is lost or doubled fails the run.
"""
