"""Flower's options in docker-compose.yml: it shows the workers and can change nothing.

`python -m workers.flower --conf=…` reads this file, and takes every name that is one of its options.
"""

from pathlib import Path

address = "0.0.0.0"  # noqa: S104 - inside its container; only nginx reaches it
port = 5555
url_prefix = "flower"
xheaders = True  # requests come from nginx
basic_auth = ["naru:" + Path("/run/secrets/flower_password").read_text().strip()]
read_only = True  # people stop answers on the page, and workers with compose
persistent = True
db = "/var/lib/naru/flower"
state_save_interval = 60_000  # ms; otherwise it saves only at a clean end
max_tasks = 5_000  # kept in memory; the default is 100,000
purge_offline_workers = 300  # s; every new version leaves offline workers
inspect_timeout = 3_000.0  # ms; a busy worker takes longer than the default second
