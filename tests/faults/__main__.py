"""Puts the faults of the matrix into real runs and prints what came of them.

    python -m tests.faults [ROW ...] [--times N] [--seed N] [--out FILE]

Without a row all of them; ``--times 3`` puts three times as many where there is a choice.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.cli.main import ENVIRONMENT
from tests.faults.prefect import prefect_server
from tests.faults.tally import Injection, table, write


def _injections(folder: Path, options: argparse.Namespace) -> Iterator[Injection]:
    if options.rows == ["layer"]:
        from tests.faults.layer import sweep

        yield from sweep(folder, options.times)
        return
    with prefect_server(folder / "prefect") as (url, _):
        os.environ["PREFECT_API_URL"] = url
        from tests.faults.rows import injections  # once the server is known

        yield from injections(folder, options.rows, options.times, options.seed)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", help="F01 to F30, or layer; without a row all of them")
    parser.add_argument("--times", type=float, default=1.0, help="more or fewer injections")
    parser.add_argument("--seed", type=int, default=0, help="of where faults are put")
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    options = parser.parse_args(words)
    os.environ |= {**ENVIRONMENT, "COLUMNS": "200"}  # before torch reads how many threads it has
    results: list[Injection] = []
    folder = Path(tempfile.mkdtemp())  # one that ends with a process would end with each child
    try:
        for each in _injections(folder, options):
            results.append(each)
            write(options.out, results)  # each time: kept if this ends early
            verdict = "passed" if each.passed else f"FAILED {each}"
            sys.stdout.write(f"{each.row} {each.fault}: {verdict}\n")
            sys.stdout.flush()
    finally:
        shutil.rmtree(folder)
    sys.stdout.write("\n".join(table(results)) + "\n")
    return 0 if all(each.passed for each in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
