"""What benchmarks found, a line a run, so that a change can be held against those before it."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

FILE = Path(__file__).with_name("history.jsonl")


def record(benchmark: str, **figures: float | str) -> None:
    """Append figures, with when, at which commit and on what they were found."""
    line = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} x {_processor()}",
        "benchmark": benchmark,
        **{n: float(f"{v:.4g}") if isinstance(v, float) else v for n, v in figures.items()},
    }
    with FILE.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _commit() -> str:
    """The short name, and whether anything but the history has been changed since."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", f":!{FILE.name}")
    return _git("rev-parse", "--short=7", "HEAD") + ("-dirty" if changed else "")


def _git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=FILE.parent, capture_output=True, text=True)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((s.split(": ")[1] for s in lines if s.startswith("model name")), "unknown")
