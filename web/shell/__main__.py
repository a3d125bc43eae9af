"""`python -m web.shell`: compress the files of a first visit ahead of time, for the build of an image."""

import sys

from web.asgi import copies
from web.shell import chunks

if __name__ == "__main__":
    sys.stdout.write(f"{copies.make(chunks.of_a_visit())} files compressed into {copies.FOLDER}\n")
