"""What the documentation shows: blocks, commands with what they print, and how to compare that."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS)
NUMBER = re.compile(r"\d+\.\d+")
TOLERANCE = 0.02  # processors add numbers up in different orders, and training amplifies it


class Block(NamedTuple):
    """A fenced block."""

    kind: str  # bash, text, python, diff, toml or nothing
    text: str


class Step(NamedTuple):
    """Commands, and what the page says that they print; empty where it says nothing."""

    commands: str
    printed: str


def page(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(text: str) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(*each) for each in found]


def steps(text: str) -> Iterator[Step]:
    """The bash blocks in order; a text block after one is what it prints."""
    shown = blocks(text)
    for block, after in zip(shown, [*shown[1:], Block("", "")], strict=True):
        if block.kind == "bash":
            yield Step(block.text, after.text if after.kind == "text" else "")


def agrees(printed: str, shown: str) -> bool:
    """Whether a page shows what was printed.

    A line ``...`` stands for any lines and ``...`` in a line for any text. Blank lines, brackets,
    the order of a line's words and small differences of its decimal numbers do not count.
    """
    lines = [
        [line.strip() for line in text.splitlines() if line.strip()] for text in (printed, shown)
    ]
    return _agree(*lines)


def _agree(printed: list[str], shown: list[str]) -> bool:
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(_agree(printed[skipped:], shown[1:]) for skipped in range(len(printed) + 1))
    return bool(printed) and _alike(printed[0], shown[0]) and _agree(printed[1:], shown[1:])


def _alike(printed: str, shown: str) -> bool:
    if "..." in shown:
        return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), printed) is not None
    if _words(printed) != _words(shown):
        return False
    numbers = (map(float, NUMBER.findall(line)) for line in (printed, shown))
    return all(
        math.isclose(*pair, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        for pair in zip(*numbers, strict=True)
    )


def _words(line: str) -> list[str]:
    return sorted(re.sub(r"[][,]", " ", NUMBER.sub("#", line)).split())
