"""Time reading 10 million ratings beside merely inflating them and beside plain pandas.

python -m benchmarks.data [--rows N]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.history import record

SPARE_SECONDS, FACTOR, PEAK_MB = 20.0, 1.5, 3_000


def write_ratings(path: Path, rows: int) -> None:
    """Ratings with a long tail of users and of items, as Amazon's ratings-only CSV, gzipped."""
    import polars as pl

    from tasks.sources.synthetic import amazon_ids, write_gzip

    generator = np.random.default_rng(0)
    users, items = (
        (rows * share * generator.random(rows) ** tail).astype(np.int64)
        for share, tail in ((0.3, 2.2), (0.04, 3.0))
    )
    # real ids are not consecutive: spread them over what 13 and 9 characters can tell apart
    frame = pl.DataFrame(
        {
            "user_id": amazon_ids("A", 14, users * 1_000_003 % 36**9 * 36**3),
            "item_id": amazon_ids("B", 10, items * 7_919 % 36**9),
            "rating": generator.choice([1.0, 2, 3, 4, 5], rows, p=[0.09, 0.05, 0.08, 0.18, 0.6]),
            "timestamp": generator.integers(900_000_000, 1_400_000_000, rows),
        }
    )
    write_gzip(frame, path)


def gunzip(path: Path) -> str:
    """The yardstick: gzip's own program."""
    subprocess.run(["gunzip", "-c", str(path)], check=True, stdout=subprocess.DEVNULL)
    return "-"


def ours(path: Path) -> str:
    """Parse, validate, drop duplicates, 5-core, index."""
    from metaem_core.data.ratings import RatingScale
    from tasks.sources.amazon import RATINGS_2014
    from tasks.sources.read import read_ratings

    counts = read_ratings(path, RATINGS_2014, RatingScale(), k=5).counts
    return f"{counts['users']} users, {counts['items']} items, {counts['ratings']} ratings"


def pandas(path: Path) -> str:
    """The same without validation, as one would write it first."""
    import pandas as pd  # type: ignore[import-untyped]

    frame = pd.read_csv(path, names=["user", "item", "rating", "time"], compression="gzip")
    frame = frame.sort_values(["time", "rating"]).drop_duplicates(["user", "item"], keep="last")
    while True:
        keep = (frame.groupby("user")["item"].transform("size") >= 5) & (
            frame.groupby("item")["user"].transform("size") >= 5
        )
        if keep.all():
            break
        frame = frame[keep]
    users, items = frame["user"].astype("category"), frame["item"].astype("category")
    coded = frame.assign(user=users.cat.codes, item=items.cat.codes).sort_values(["user", "item"])
    return (
        f"{len(users.cat.categories)} users, {len(items.cat.categories)} items, "
        f"{len(coded)} ratings"
    )


CONTENDERS: dict[str, Callable[[Path], str]] = {"gunzip": gunzip, "ours": ours, "pandas": pandas}
COMMAND = (sys.executable, "-m", "benchmarks.data")
ROOT = Path(__file__).parent.parent


def measure(name: str, path: Path) -> None:
    """Run one contender in this process and print what it took, as JSON."""
    start = time.perf_counter()
    found = CONTENDERS[name](path)
    wall = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(use.ru_utime + use.ru_stime for use in (own, children))
    peak = max(own.ru_maxrss, children.ru_maxrss) / 1024  # KiB on Linux
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "found": found}))


def main() -> None:
    """Compare all contenders on one file, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--write", type=Path, help="only write the file to read")
    parser.add_argument("--only", nargs=2, metavar=("NAME", "FILE"), help="only one contender")
    arguments = parser.parse_args()
    if arguments.write:
        return write_ratings(arguments.write, arguments.rows)
    if arguments.only:
        return measure(arguments.only[0], Path(arguments.only[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv.gz"
        # a child inherits its parent's peak: this process stays small
        rows = f"--rows={arguments.rows}"
        subprocess.run([*COMMAND, rows, f"--write={path}"], check=True, cwd=ROOT)
        print(f"{arguments.rows} ratings, {path.stat().st_size / 1e6:.0f} MB compressed")
        report({name: run(name, path) for name in CONTENDERS})


def run(name: str, path: Path) -> dict[str, float]:
    """Measure one contender."""
    command = [*COMMAND, "--only", name, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    taken: dict[str, float] = json.loads(done.stdout)
    print(
        f"{name:8} wall {taken['wall']:6.1f} s   cpu {taken['cpu']:6.1f} s   "
        f"peak {taken['peak']:6.0f} MB   {taken['found']}"
    )
    return taken


def report(taken: dict[str, dict[str, float]]) -> None:
    """Hold ours to the promise."""
    base, mine, other = (taken[name] for name in CONTENDERS)
    record("data", **{name: each["wall"] for name, each in taken.items()}, peak=mine["peak"])
    allowed = FACTOR * base["wall"] + SPARE_SECONDS
    print(
        f"ours / gunzip  {mine['wall'] / base['wall']:.2f}   ours / pandas  "
        f"{mine['wall'] / other['wall']:.2f} of the time, {mine['peak'] / other['peak']:.2f} "
        "of the memory"
    )
    print(
        f"allowed {FACTOR} x gunzip + {SPARE_SECONDS:.0f} s = {allowed:.1f} s and {PEAK_MB} MB: "
        f"{'kept' if mine['wall'] <= allowed and mine['peak'] <= PEAK_MB else 'BROKEN'}"
    )


if __name__ == "__main__":
    main()
