"""`./naru providers`: its arguments. `providing.py` carries out the commands.

Imports the standard library only, so that the help works before anything is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from deploy.embedded.processes import ROOT

ABOUT = """\
The providers of the environment and of providers.toml: docs/operations/providers.md

  ./naru providers                       each provider, the number of its models, or what is wrong
  ./naru providers list gateway          the models of one provider
  ./naru providers test gateway          one real, tiny question of at most 256 tokens; --model chooses
  ./naru providers hide 'gateway/old-*'  leaves models out of the picker; show puts them back
  ./naru providers order gateway/a b/c   these come first in the picker, the first one as the default
  ./naru providers facts                 what servers taught Naru about their models; forget MODEL drops it
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    chosen = make_parser().parse_args(arguments)
    chosen.data = chosen.data.resolve()
    from deploy.cli import providing

    return providing.run(chosen)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="./naru providers", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".naru", metavar="DIR", help="data folder (default: .naru/ beside naru)"
    )
    parser.set_defaults(command="list", name="")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, line in {
        "list": "list the providers, or the models of one",
        "test": "ask a provider one tiny question; its answer has at most 256 tokens",
        "hide": "leave models out of the picker; a * stands for any text",
        "show": "put models back into the picker",
        "order": "put models first in the picker; without a model, restore the workers' order",
        "facts": "print what servers have taught Naru about their models",
        "forget": "drop what was learnt about a model, so that it is tried afresh",
    }.items():
        made = commands.add_parser(name, help=line, description=line)
        made.set_defaults(command=name)
        if name == "list":
            made.add_argument("name", nargs="?", default="", metavar="NAME", help="the provider's name")
        elif name == "test":
            made.add_argument("name", metavar="NAME", help="the provider's name")
            made.add_argument("--model", default="", metavar="MODEL", help="its name there (default: the first)")
        elif name == "forget":
            made.add_argument("model", metavar="MODEL", help="provider/model")
        elif name != "facts":
            made.add_argument(
                "models", nargs="*" if name == "order" else "+", metavar="MODEL", help="provider/model, or a pattern"
            )
    return parser
