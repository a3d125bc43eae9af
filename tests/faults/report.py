"""The results table: one line per fault, from all runs in the file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tests.bench.figure import p
from tests.faults.catalogue import FAULTS
from tests.faults.run import Result

HEAD = (
    "#",
    "fault",
    "n",
    "accepted",
    "lost",
    "doubled",
    "wrong",
    "other",
    "recovery p50 / p95 / max, s",
    "extra calls",
    "exits",
)
#: The kinds of violation under each heading; the rest are under "other".
LOST, DOUBLED, WRONG = (
    ("lost", "stuck", "unfounded"),
    ("doubled", "phantom"),
    ("wrong", "not_prefix", "stale", "after_stop"),
)


def by_fault(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Group the shots by fault, in the catalogue's order."""
    found: dict[str, list[Result]] = defaultdict(list)
    for each in results:
        if each["fault"] != "conditions":
            found[each["fault"]].append(each)
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _order(fault: str) -> tuple[int, str]:
    number = "".join(letter for letter in fault if letter.isdigit())
    return (int(number) if number else 1000, fault)


def line(fault: str, shots: Sequence[Result]) -> tuple[str, ...]:
    """Return the table line of one fault."""
    number = fault.split(maxsplit=1)[0]
    name = FAULTS[int(number)].name if number.isdigit() and int(number) in FAULTS else ""
    name = shots[0].get("name") or name
    if cannot := next((each["cannot"] for each in shots if "cannot" in each), None):
        return (fault, name, "0", *[""] * 5, f"not injected: {cannot}", "", "")
    judged = [each for each in shots if "counts" in each]
    counts: Counter[str] = Counter()
    exits: Counter[str] = Counter()
    for each in judged:
        counts.update(each["counts"])
        exits.update(each["exits"])
    recovery = [value for each in judged for value in each["recovery"]]
    extra, answered = sum(each["extra_calls"] for each in judged), sum(each["succeeded"] for each in judged)
    other = sum(counts.values()) - sum(counts[kind] for kind in (*LOST, *DOUBLED, *WRONG))
    broke = len(shots) - len(judged)
    return (
        fault,
        name,
        f"{len(judged)}" + (f" (+{broke} broke off)" if broke else ""),
        str(sum(each["accepted"] for each in judged)),
        *(str(sum(counts[kind] for kind in kinds)) for kinds in (LOST, DOUBLED, WRONG)),
        str(other),
        spread(recovery),
        f"{extra} ({100 * extra / max(answered, 1):.0f} %)",
        ", ".join(f"{count} {kind}" for kind, count in sorted(exits.items())) or "0",
    )


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """Format p50 / p95 / max."""
    if not values:
        return "–"
    return " / ".join(f"{each:.{digits}f}" for each in (p(values, 50), p(values, 95), max(values)))


def figures(shots: Sequence[Result]) -> dict[str, str]:
    """Format the other figures: name → p50 / p95 / p99 / max."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in shots:
        for name, values in each.get("figures", {}).items():
            found[name] += values
    made = {
        name: " / ".join(f"{each:.3f}" for each in (p(values, 50), p(values, 95), p(values, 99), max(values)))
        for name, values in found.items()
        if values
    }
    return made | {name: words for each in shots for name, words in grown(each.get("slopes", {})).items()}


def grown(slopes: dict[str, dict[str, float]]) -> dict[str, str]:
    """Return the soak's lines: each process's memory and descriptors after the warm-up and at the end, and slopes."""
    return {
        f"{name}: memory and descriptors": (
            f"PSS {each['pss first']:.0f} → {each['pss last']:.0f} MB ({each['pss an hour']:+.1f} an hour), RSS "
            f"{each['rss first']:.0f} → {each['rss last']:.0f} MB, descriptors {each['descriptors first']:.0f} → "
            f"{each['descriptors last']:.0f} ({each['descriptors an hour']:+.1f} an hour)"
        )
        for name, each in slopes.items()
    }


def text(results: Sequence[Result]) -> str:
    """Return the table for a terminal."""
    rows = [HEAD, *(line(fault, shots) for fault, shots in by_fault(results).items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = [
        f"   {fault}: {name} p50 / p95 / p99 / max  {values}"
        for fault, shots in by_fault(results).items()
        for name, values in figures(shots).items()
    ]
    wrong = [f"   {fault} #{each['index']} seed {each['seed']}: {found}" for fault, shots in by_fault(results).items()
             for each in shots for found in each.get("findings", [])]  # fmt: skip
    return "\n".join([*lines, *(["", *more] if more else []), *(["", "WRONG:", *wrong] if wrong else [])])


def markdown(results: Sequence[Result]) -> str:
    """Return the table for docs/reliability.md, with the conditions of the run."""
    rows = [explained(line(fault, shots)) for fault, shots in by_fault(results).items()]
    table = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}", *(f"| {' | '.join(row)} |" for row in rows)]
    more = [
        f"| {fault} | {name} | {values} |"
        for fault, shots in by_fault(results).items()
        for name, values in figures(shots).items()
    ]
    besides = ["", "| # | figure (times in s) | p50 / p95 / p99 / max |", "|---|---|---|", *more] if more else []
    return "\n".join([*table, *besides, "", *made_by(results)])


def explained(row: tuple[str, ...]) -> tuple[str, ...]:
    """Return the row with the start and end of the recovery time added to the name."""
    fault = FAULTS.get(int(row[0])) if row[0].isdigit() else None
    meaning = fault.recovery if fault is not None else "–"
    return row if meaning == "–" else (row[0], f"{row[1]} ({meaning})", *row[2:])


def made_by(results: Sequence[Result]) -> list[str]:
    """Return the lines with the seeds, machine and versions."""
    seeds = sorted({each["seed"] for each in results if each["fault"] != "conditions"})
    conditions = next((each for each in results if each["fault"] == "conditions"), {})
    lines = [f"Seeds: {', '.join(map(str, seeds))}."]
    return [
        *lines,
        *(f"{name.capitalize()}: {conditions[name]}." for name in ("machine", "versions") if name in conditions),
    ]


def is_clean(results: Iterable[Result]) -> bool:
    """Return whether no shot has a violation or broke off. The textbook's shots do not count."""
    ours = [each for each in results if "textbook" not in each["fault"]]
    return not any(each.get("findings") or each.get("broken_visits") or "error" in each for each in ours)
