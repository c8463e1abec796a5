"""Lists on real choices: every method on five pairs of domains, all cold users, whole catalogue.

    METAEM_REAL_DATA=folder python benchmarks/real_lists.py [--seeds 1,2,3,4,5] [--out folder]

Each pair is one ``metaem run`` in a process of its own, with ``feedback=choices``: a rating counts
as a choice, whatever its stars, and the half of stars is left out. Prints NDCG@10 by pair and cold
fraction, the mean over these cells, and in how many MetaEM is above and significantly above each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

METAEM = Path(sys.executable).with_name("metaem")
PAIRS = [
    ("epinions", "movies-music"),
    ("epinions", "books-movies"),
    ("epinions", "books-music"),
    ("amazon_dense", "movies-books"),
    ("amazon_dense", "books-movies"),
]


def run(store: Path, data: Path, task: str, seeds: str, extra: list[str]) -> Path:
    """The folder of the report on one pair."""
    files = [f"files.files.{name}={data / name}.parquet" for name in task.split("-")]
    options = ["--source", "files", "--task", task, "--seeds", seeds, "--store", str(store)]
    for setting in ("feedback=choices", *files):
        options += ["--set", setting]
    subprocess.run([str(METAEM), "run", *options, *extra], check=True, stdout=subprocess.DEVNULL)
    newest = max(store.glob("report/*/manifest.json"), key=lambda path: path.stat().st_mtime)
    return newest.parent


def table(reports: list[tuple[str, str, Path]], name: str) -> pl.DataFrame:
    """A table of every report, with its pair."""
    frames = [
        pl.read_parquet(folder / name).with_columns(pair=pl.lit(f"{data} {task}"))
        for data, task, folder in reports
    ]
    return pl.concat(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("METAEM_REAL_DATA"))
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--out", type=Path, help="keep the stores and the tables here")
    options, extra = parser.parse_known_args()
    if options.data is None:
        parser.error("say where the ratings are: --data or METAEM_REAL_DATA")
    out, reports = options.out or Path(tempfile.mkdtemp()), []
    for data, task in PAIRS:
        started = time.monotonic()
        store, folder = out / f"{data}-{task}", Path(options.data) / data
        reports.append((data, task, run(store, folder, task, options.seeds, extra)))
        print(f"{data} {task}: {time.monotonic() - started:.0f} s", flush=True)
    summary = table(reports, "list_summary.parquet")
    compared = table(reports, "list_comparisons.parquet")
    summary.write_parquet(out / "list_summary.parquet")
    compared.write_parquet(out / "list_comparisons.parquet")
    scores = summary.filter((pl.col("relevant") == "chosen") & (pl.col("metric") == "ndcg_at_10"))
    cells = scores.with_columns(cell=pl.format("{} {}", "pair", "beta"))
    wide = cells.pivot("cell", index="method", values="mean")
    mean = pl.mean_horizontal(pl.exclude("method")).alias("mean")
    with pl.Config(tbl_cols=-1, tbl_rows=-1, float_precision=4, tbl_width_chars=260):
        print(wide.with_columns(mean).sort("mean", descending=True))
        ours = compared.filter(pl.col("method") == "metaem_choice")
        above = (pl.col("difference") > 0).sum().alias("above")
        sure = (pl.col("low") > 0).sum().alias("significantly")
        below = (pl.col("high") < 0).sum().alias("significantly below")
        print(ours.group_by("relevant", "reference").agg(pl.len(), above, sure, below))
        other = summary.filter(~pl.col("metric").is_in(["ndcg_at_10"]))
        means = other.group_by("method", "relevant", "metric").agg(pl.col("mean").mean())
        print(means.pivot(["relevant", "metric"], index="method", values="mean"))


if __name__ == "__main__":
    main()
