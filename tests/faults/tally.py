"""What is noted of every injection, and the table of all."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Injection:
    """One fault, and what was found after it."""

    row: str  # F01 to F30
    fault: str
    wrong: str = ""  # what did not hold; empty: all of it held
    recovery: float = 0.0  # seconds of the command that mended it
    lost: float = 0.0  # seconds that fault and mending took beyond an undisturbed run
    duplicates: int = 0  # pieces of work done again although they were finished
    partial: int = 0  # artifacts at their address that were not whole

    @property
    def passed(self) -> bool:
        return not (self.wrong or self.duplicates or self.partial)


HEADER = ("row", "injections", "passed", "recovery", "lost", "duplicates", "partial")


def table(injections: Iterable[Injection]) -> Iterator[str]:
    """Markdown: a line a row of the matrix."""
    rows: dict[str, list[Injection]] = {}
    for each in injections:
        rows.setdefault(each.row, []).append(each)
    yield f"| {' | '.join(HEADER)} |"
    yield "|---" * len(HEADER) + "|"
    for row, found in sorted(rows.items()):
        passed = sum(each.passed for each in found)
        slowest, most = max(each.recovery for each in found), max(each.lost for each in found)
        counted = sum(each.duplicates for each in found), sum(each.partial for each in found)
        numbers = [len(found), passed, f"{slowest:.1f} s", f"{most:.1f} s", *counted]
        yield f"| {' | '.join(map(str, [row, *numbers]))} |"


def write(path: Path, injections: Iterable[Injection]) -> None:
    """Every injection as JSON."""
    noted = [asdict(each) for each in injections]
    path.write_text(json.dumps(noted, indent=1) + "\n")
