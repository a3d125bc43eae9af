"""Stand-ins for the images of Docker Hub, made from Debian's packages, for machines that cannot reach it.

They differ from the real ones in version (Debian 12: Python 3.11, nginx 1.22, PostgreSQL 15, Redis 7.0) and size. They
match in what docker-compose.yml relies on: programs, user ids, data folders and environment. A result obtained with
them says so.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.deploy.engine import PACKAGES as PROGRAMS
from tests.deploy.engine import Engine, NoEngine

FILES = Path(__file__).with_name("bases")
PREFIX = "naru-stand-in"
PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
#: The variables of docker-compose.yml that name a base image, and its stand-in.
IMAGES = {
    "PYTHON_IMAGE": f"{PREFIX}/python:1",
    "NGINX_IMAGE": f"{PREFIX}/nginx:1",
    "POSTGRES_IMAGE": f"{PREFIX}/postgres:1",
    "REDIS_IMAGE": f"{PREFIX}/redis:1",
    "CERTBOT_IMAGE": f"{PREFIX}/certbot:1",
    "PEBBLE_IMAGE": f"{PREFIX}/pebble:1",
}


def make(engine: Engine) -> None:
    """Make the stand-ins that are missing."""
    if not is_there(engine, IMAGES["PYTHON_IMAGE"]):
        import_debian(engine)
    for variable, name in IMAGES.items():
        if variable != "PYTHON_IMAGE" and not is_there(engine, name):
            build(engine, name)


def is_there(engine: Engine, name: str) -> bool:
    """Return whether the engine has an image of this name."""
    return bool(engine.docker("image", "ls", "--quiet", name).strip())


def import_debian(engine: Engine) -> None:
    """Import Debian with Python as a one-layer image, which trusts the authorities that this machine trusts.

    Raises NoEngine where debootstrap is missing.
    """
    if shutil.which("debootstrap") is None:
        raise NoEngine(f"there is no debootstrap here: {PROGRAMS}")
    with tempfile.TemporaryDirectory(prefix="naru-stand-in-") as folder:
        root = Path(folder) / "root"
        engine.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)], seconds=900)
        if BUNDLE.exists():
            shutil.copyfile(BUNDLE, root / BUNDLE.relative_to("/"))
            (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {BUNDLE}\n")
        for leftover in ("var/cache/apt/archives", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / leftover, ignore_errors=True)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        packed = Path(folder) / "root.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(packed), "."], check=True, timeout=300)
        engine.docker("import", str(packed), IMAGES["PYTHON_IMAGE"])


def build(engine: Engine, name: str) -> None:
    """Build another stand-in on that image, with the host's network to reach its package mirror."""
    kind = name.removeprefix(f"{PREFIX}/").partition(":")[0]
    build_environment = {"DOCKER_BUILDKIT": "0"}
    engine.run(
        [
            "docker",
            "build",
            "--network",
            "host",
            "--file",
            str(FILES / f"Dockerfile.{kind}"),
            "--tag",
            name,
            str(FILES),
        ],
        environ=build_environment,
        seconds=900,
    )


def remove(engine: Engine) -> None:
    """Remove the stand-ins."""
    engine.docker("image", "rm", "--force", *IMAGES.values(), check=False)
