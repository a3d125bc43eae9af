"""llama.cpp's server on one model: `python llama_server.py MODEL PORT KEY`, run by the environment that has its wheel.

Imports nothing of Naru.
"""

from __future__ import annotations

import importlib
import signal
import sys


def main() -> None:
    """Serve until SIGTERM."""
    model, port, key = sys.argv[1:]
    llama = importlib.import_module("xllamacpp")
    wanted = llama.CommonParams()
    wanted.model.path, wanted.model_alias = model, {"tiny"}
    wanted.hostnames, wanted.port, wanted.api_keys = ["127.0.0.1"], int(port), [key]
    wanted.n_ctx, wanted.n_parallel, wanted.kv_unified = 2048, 2, True
    # Keep generating, so there is time to stop it.
    wanted.sampling.seed, wanted.sampling.ignore_eos, wanted.warmup = 7, True, False
    wanted.endpoint_slots = True
    server = llama.Server(wanted)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
