"""`./naru lock`: remake requirements.lock from pyproject.toml.

The file lists the packages that Naru needs to run and, below a marker line, those that only its tests need. It is an
ordinary hashed requirements file without a registry; deploy/cli/bootstrap.py cuts it at the marker.
deploy/images/*.lock are subsets of its entries, one for each image.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.cli.bootstrap import LOCK, ROOT, TEST_PART

HEAD = "# Made by `./naru lock` from pyproject.toml; do not edit. For any Python >= 3.11 on any platform.\n"
IMAGES = ROOT / "deploy" / "images"
IMAGE_HEAD = "# Made by `./naru lock`: the entries of requirements.lock in the group {group}; do not edit.\n"
ENTRY = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)==.*?(?=^[a-z0-9]|\Z)", re.MULTILINE | re.DOTALL)


def remake_lock(*, upgrade: bool) -> int:
    """Compile both parts with uv and write the locks; return the exit code."""
    uv = shutil.which("uv")
    if uv is None:
        print("naru lock: install uv first (https://docs.astral.sh/uv/). Only this command needs it.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        pins = LOCK.read_text() if LOCK.exists() and not upgrade else ""
        run = compile_part(uv, Path(folder) / "run.txt", pins=pins)
        test = compile_part(uv, Path(folder) / "run-and-test.txt", "--group", "test", pins=pins or run)
    running = {match.group(0) for match in ENTRY.finditer(run)}
    everything = [match.group(0) for match in ENTRY.finditer(test)]
    if not running <= set(everything):
        print("naru lock: the tests need different package versions from Naru itself. Pin one in pyproject.toml.")
        return 1
    only_test = "".join(entry for entry in everything if entry not in running)
    LOCK.write_text(f"{HEAD}{run}\n{TEST_PART}\n{only_test}")
    print(f"{LOCK.name}: {run.count('==')} packages to run, {only_test.count('==')} more to test.")
    for image in ("web", "worker"):
        write_image_lock(uv, image, run)
    return 0


def write_image_lock(uv: str, image: str, run: str) -> None:
    """Write the lock of one image. uv decides which packages it needs; the versions and hashes are from the lock."""
    group = f"{image}-image"
    with tempfile.TemporaryDirectory() as folder:
        needed = compile_part(uv, Path(folder) / "image.txt", "--group", group, pins=run, source=())
    names = {match["name"] for match in ENTRY.finditer(needed)}
    entries = [match.group(0) for match in ENTRY.finditer(run) if match["name"] in names]
    (IMAGES / f"{image}.lock").write_text(IMAGE_HEAD.format(group=group) + "".join(entries))
    print(f"{image}.lock: {len(entries)} packages.")


def compile_part(uv: str, output: Path, *extra: str, pins: str, source: Sequence[str] = ("pyproject.toml",)) -> str:
    """Resolve the dependencies once, and keep the versions in `pins` where possible."""
    output.write_text(pins)
    command = [
        uv,
        "pip",
        "compile",
        *source,
        "--universal",
        "--generate-hashes",
        "--python-version",
        "3.11",
    ]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"]
    subprocess.run([*command, *extra, "-o", str(output)], cwd=ROOT, check=True)
    return output.read_text()
