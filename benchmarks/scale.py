"""MetaEM to the end at the paper's size (Table 2), and how the cost grows with the data.

    python benchmarks/scale.py [--tasks movie-music book-movie] [--growth 1 4 16]

Each line is one ``metaem run`` on a planted world, from nothing, in a process of its own: the
clock, the largest memory, the seconds of every stage (a stage's domains and seeds added up) and the
ratings a second that pretraining went through. Tasks run at ``scale=table2`` with every default;
growth multiplies the default world and gives each size the same number of epochs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import polars as pl

METAEM = Path(sys.executable).with_name("metaem")
SAME_EPOCHS = ("pretrain.epochs=5", "pretrain.patience=99", "mapping.epochs=5")
WORLD = "synthetic.config."


def run(task: str, settings: tuple[str, ...], store: Path) -> float:
    """Seconds of one run of one cell."""
    command = [str(METAEM), "run", "--task", task, "--store", str(store)]
    command += ["--betas", "0.2", "--seeds", "1"]
    for setting in settings:
        command += ["--set", setting]
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def measure(task: str, settings: tuple[str, ...]) -> None:
    """Run and print one line, in a process of its own: its children's memory is the run's."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        wall = run(task, settings, store)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        seconds: dict[str, float] = defaultdict(float)
        for path in store.glob("*/*/manifest.json"):
            seconds[path.parent.parent.name] += json.loads(path.read_text())["seconds"]
        curves = pl.concat(pl.read_parquet(path) for path in store.glob("pretrain/*/curve.parquet"))
        held = sum(
            pl.scan_parquet(path).select(pl.len()).collect().item()
            for path in store.glob("filter/*/ratings.parquet")
        )
    rate = curves["ratings"].sum() / seconds["pretrain"]
    stages = ", ".join(f"{name} {took:.0f}" for name, took in sorted(seconds.items()))
    print(
        f"{task} {' '.join(settings[:1])}: {held:,} ratings, {wall:.0f} s, {peak:,.0f} MB, "
        f"{len(curves)} epochs at {rate:,.0f} ratings/s; {stages}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="*", default=["movie-music", "book-movie"])
    parser.add_argument("--growth", nargs="*", default=["1", "4", "16"])
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        task, *settings = options.one
        return measure(task, tuple(settings))
    lines = [(task, f"{WORLD}scale=table2") for task in options.tasks]
    lines += [("movie-music", f"{WORLD}growth={n}", *SAME_EPOCHS) for n in options.growth]
    for line in lines:
        subprocess.run([sys.executable, __file__, "--one", *line], check=True)


if __name__ == "__main__":
    main()
