"""The versions of the servers, in one place. Naru itself depends on none of them.

A pin fixes the package alone: the packages that it needs are the newest that fit, and no hash is checked.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pin:
    """A package of PyPI or npm. `requirement` is in the words of its own installer."""

    requirement: str
    is_node: bool = False

    @property
    def version(self) -> str:
        """The version alone."""
        return self.requirement.replace("@", "==").rpartition("==")[2]


#: llama.cpp's own server, built into a wheel for Python.
LLAMA = Pin("xllamacpp==2026.10.11549")
LITELLM = Pin("litellm[proxy]==1.105.7")
#: A fake from PyPI.
FAKELLM = Pin("fakellm==0.3.5")
#: A fake from npm.
AIMOCK = Pin("@copilotkit/aimock@1.43.0", is_node=True)
