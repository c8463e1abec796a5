"""Rows, or parts of them, that the ordinary tests show: each of their tests counts as one."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from tests.faults.command import ROOT
from tests.faults.suite import Suite
from tests.faults.tally import Injection

TESTS = {
    "F02": ("test_interrupt.py::test_a_signal_ends_a_run_at_once_and_prefects_server_with_it",),
    "F07": ("test_reading.py -k truncated_gzip or missing_trailer",),
    "F08": ("test_reading.py -k flipped_bits or garbage_after or several_members",),
    "F10": ("test_fetching.py",),
    "F17": ("test_reading.py -k latest_of_a_pair or order_of_lines",),
    "F18": ("test_reading.py -k bad_line or bad_json or half_stars or refusal_names",),
    "F23": ("test_remote.py", "test_secure_rounds.py", "test_carried.py"),
    "F24": ("test_remote.py -k interrupted or damaged", "test_flower.py -k killed"),
    "F25": (
        "test_flower.py -k unregistered",
        "test_credentials.py -k forged or certificate",
    ),
}


def tested(suite: Suite) -> Iterator[Injection]:
    """Every test of these rows; one that is skipped is left out."""
    for row, places in TESTS.items():
        for place in places:
            yield from _run(row, place, suite.product.folder / "tests.xml")


def _run(row: str, place: str, note: Path) -> Iterator[Injection]:
    file, _, chosen = place.partition(" -k ")
    words = [f"tests/{file}", *(("-k", chosen) if chosen else ()), f"--junitxml={note}"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    for case in ElementTree.parse(note).iter("testcase"):
        found = {child.tag: child for child in case}
        wrong = next(
            (each.get("message", "") for tag, each in found.items() if tag != "skipped"), ""
        )
        if "skipped" not in found:
            yield Injection(row, f"tests/{file} {case.get('name')}", wrong)
