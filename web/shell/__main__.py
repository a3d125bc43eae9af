"""`python -m web.shell`: compress ahead of time what a first visit loads, as an image does when it is built."""

import sys

from web.asgi import copies
from web.shell import chunks

if __name__ == "__main__":
    sys.stdout.write(f"{copies.make(chunks.of_a_visit())} files compressed into {copies.FOLDER}\n")
