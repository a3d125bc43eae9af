"""Flower's options in docker-compose.yml: it watches, and nothing can be done with it.

Read by `python -m workers.flower --conf=…`, which takes every name here that is an option of its own.
"""

from pathlib import Path

address = "0.0.0.0"  # noqa: S104 - inside its container; only nginx reaches it
port = 5555
url_prefix = "flower"
xheaders = True  # nginx stands before it
basic_auth = ["naru:" + Path("/run/secrets/flower_password").read_text().strip()]
read_only = True  # stopping an answer is the page's; stopping a worker is compose's
persistent = True
db = "/var/lib/naru/flower"
state_save_interval = 60_000  # ms; else only a clean end saves
max_tasks = 5_000  # the default of 100,000 is held in memory
purge_offline_workers = 300  # s; every new version leaves workers behind
inspect_timeout = 3_000.0  # ms; a busy worker takes longer than the default second
