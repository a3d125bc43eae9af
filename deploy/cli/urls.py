"""`./naru urls`: print the addresses of the Naru on a data folder, and Flower's password.

`up` does not print the password, because its output ends up in journals and in the history of terminals.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy import terminal
from deploy.embedded.data import DataProblem, running_on, secrets_in


def show(*, data: Path) -> int:
    """Print the addresses and the password; return 1 if no Naru runs there."""
    running = running_on(data)
    if running is None:
        sys.stderr.write(
            f"naru: Naru is not running on {data}. Start it with ./naru up, or name its folder with --data DIR.\n"
        )
        return 1
    try:
        secrets = secrets_in(data)
    except DataProblem as error:
        sys.stderr.write(f"naru: {terminal.line(str(error))}\n")
        return 1
    print(*running.lines, sep="\n")
    if secrets is not None:
        print(f"  Flower's user is naru, its password {secrets.flower_password}")
    return 0
