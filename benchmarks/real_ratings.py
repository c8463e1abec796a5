"""The main job on real ratings, fetched over HTTP in Amazon's formats.

    METAEM_REAL_DATA=folder python benchmarks/real_ratings.py [--seeds 1,2,3] [--out folder]

``folder`` holds ``epinions/{movies,music}.parquet`` and ``amazon_dense/{movies,books}.parquet``
with columns user_id, item_id, rating, timestamp. They are written out as Amazon 2014 5-core JSON
lines and served by an HTTP server on this machine; ``metaem run`` does the rest, in a process of
its own. Prints each cell and the mean over the six cells for every method.
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
from tests.support.amazon_files import write_amazon_2014_json
from tests.support.loopback import Loopback, loopback

METAEM = Path(sys.executable).with_name("metaem")
CATEGORIES = {"movies": "Movies_and_TV", "music": "CDs_and_Vinyl", "books": "Books"}
PAIRS = {
    "epinions": ("movie-music", ("movies", "music")),
    "amazon_dense": ("movie-book", ("movies", "books")),
}


def serve(data: Path, name: str, files: tuple[str, ...], server: Loopback) -> None:
    """Put a set's domains on the server under the names Amazon gives them."""
    for domain in files:
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder) / "reviews.json.gz"
            write_amazon_2014_json(pl.read_parquet(data / name / f"{domain}.parquet"), packed)
            server.files[f"/{name}/reviews_{CATEGORIES[domain]}_5.json.gz"] = packed.read_bytes()


def run(store: Path, task: str, mirror: str, seeds: str, extra: list[str]) -> pl.DataFrame:
    """The summary of one ``metaem run``."""
    options = ["--source", "amazon-2014", "--task", task, "--seeds", seeds, "--store", str(store)]
    command = [str(METAEM), "run", *options, "--set", f"mirror={mirror}", *extra]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    newest = max(store.glob("report/*/summary.parquet"), key=lambda path: path.stat().st_mtime)
    return pl.read_parquet(newest)


def table(summaries: pl.DataFrame) -> pl.DataFrame:
    """Methods as rows, MAE / RMSE of each cell as columns, then the mean over cells."""
    errors = summaries.filter(pl.col("metric").is_in(["mae", "rmse"]))
    cell = pl.format("{} {} {}", pl.col("set"), pl.col("beta"), pl.col("metric"))
    return (
        errors.with_columns(cell=cell)
        .pivot("cell", index="method", values="mean")
        .with_columns(
            mean_mae=pl.mean_horizontal(pl.selectors.ends_with(" mae")),
            mean_rmse=pl.mean_horizontal(pl.selectors.ends_with(" rmse")),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("METAEM_REAL_DATA"))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--out", type=Path, help="keep the store and the table here")
    options, extra = parser.parse_known_args()
    if options.data is None:
        parser.error("say where the ratings are: --data or METAEM_REAL_DATA")
    out = options.out or Path(tempfile.mkdtemp())
    summaries = []
    with loopback() as server:
        for name, (task, files) in PAIRS.items():
            serve(Path(options.data), name, files, server)
            started = time.monotonic()
            summary = run(out / "store" / name, task, f"{server.url}/{name}", options.seeds, extra)
            print(f"{name} {task}: {time.monotonic() - started:.1f} s")
            summaries.append(summary.with_columns(set=pl.lit(name)))
    together = pl.concat(summaries)
    together.write_parquet(out / "summary.parquet")
    with pl.Config(tbl_cols=-1, tbl_rows=-1, float_precision=4, tbl_width_chars=250):
        print(table(together))
        print(
            together.filter(pl.col("metric") == "rmse").select(
                "set", "beta", "method", "mean", "sd", "p_value"
            )
        )


if __name__ == "__main__":
    main()
