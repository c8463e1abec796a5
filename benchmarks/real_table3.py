"""Table 3 on real ratings: every method, five pairs of domains, fetched over HTTP.

    METAEM_REAL_DATA=folder python benchmarks/real_table3.py [--seeds 5] [--out folder] [--reversed]
        [options]

Epinions' three tasks and a dense Amazon subset both ways, in Amazon 2014's format (see
``real_ratings.py``), by ``metaem table3`` in a process of its own; or, ``--reversed``, Epinions'
tasks the other way round, on which no setting was chosen. Prints for every method the mean
MAE of medians and RMSE over the cells, and in how many of them it is better or worse than bias
transfer (p < 0.05, paired by user). Further options go to ``metaem table3``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.real_ratings import METAEM, serve
from tests.support.loopback import loopback

TASKS = {
    "epinions": ("movie-music,book-movie,book-music", ("movies", "books", "music")),
    "amazon_dense": ("movie-book,book-movie", ("movies", "books")),
}
REVERSED = {"epinions": ("music-movie,movie-book,music-book", ("movies", "books", "music"))}


def run(store: Path, tasks: str, mirror: str, seeds: int, extra: list[str]) -> pl.DataFrame:
    """The summary of one ``metaem table3``, with the tested differences from bias transfer."""
    options = ["--source", "amazon-2014", "--tasks", tasks, "--seeds", str(seeds)]
    where = ["--store", str(store), "--set", f"mirror={mirror}"]
    command = [str(METAEM), "table3", *options, *where, *extra]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    newest = max(store.glob("report/*/summary.parquet"), key=lambda path: path.stat().st_mtime)
    against = pl.read_parquet(newest.with_name("comparisons.parquet")).filter(
        pl.col("reference") == "bias_transfer"
    )
    keys = ["task", "beta", "method", "metric"]
    return pl.read_parquet(newest).join(against.select(*keys, "paired"), on=keys, how="left")


def means(summaries: pl.DataFrame) -> pl.DataFrame:
    """One row a method over all cells, the lowest RMSE first."""
    errors = summaries.filter(pl.col("metric").is_in(["median_mae", "rmse"]))
    clear = pl.col("p_value") < 0.05
    counted = errors.group_by("method", "metric").agg(
        pl.col("mean").mean(),
        (clear & (pl.col("paired") < 0)).sum().alias("better"),
        (clear & (pl.col("paired") > 0)).sum().alias("worse"),
        pl.len().alias("cells"),
    )
    wide = counted.pivot("metric", index="method", values=["mean", "better", "worse"])
    return wide.sort("mean_rmse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("METAEM_REAL_DATA"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="keep the stores and the table here")
    parser.add_argument("--reversed", action="store_true")
    options, extra = parser.parse_known_args()
    if options.data is None:
        parser.error("say where the ratings are: --data or METAEM_REAL_DATA")
    out = options.out or Path(tempfile.mkdtemp())
    summaries = []
    with loopback() as server:
        for name, (tasks, files) in (REVERSED if options.reversed else TASKS).items():
            serve(Path(options.data), name, files, server)
            started = time.monotonic()
            mirror = f"{server.url}/{name}"
            summary = run(out / "store" / name, tasks, mirror, options.seeds, extra)
            print(f"{name} {tasks}: {time.monotonic() - started:.1f} s", flush=True)
            summaries.append(summary.with_columns(set=pl.lit(name)))
    together = pl.concat(summaries)
    together.write_parquet(out / "table3.parquet")
    with pl.Config(tbl_cols=-1, tbl_rows=-1, float_precision=4, tbl_width_chars=200):
        print(means(together))
        rmse = together.filter(pl.col("metric") == "rmse")
        cells = pl.format("{} {} {}", pl.col("set"), pl.col("task"), pl.col("beta"))
        print(rmse.with_columns(cell=cells).pivot("cell", index="method", values="mean"))


if __name__ == "__main__":
    main()
