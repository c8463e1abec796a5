"""What twins do to every score: an experiment with them and one without, paired by cold user.

    python -m benchmarks.twins task=games-videos source=files files.files.games=games.csv ...
    python -m benchmarks.twins --folder FOLDER task=movies-books  # FOLDER/movies.parquet, ...
    python -m benchmarks.twins --planted 0.1  # the embedded ratings, every tenth song a twin's

Takes the settings of ``metaem run``, as ``--set`` does, and prints a table of every method and
score: with ``twins=keep``, with ``twins=drop``, their difference and its 95 % interval. Only users
who are cold in both experiments count; the target and its held-out items are the same in both.
"""

import argparse
import os
import tempfile
from pathlib import Path

import polars as pl

from flows.cli.main import ENVIRONMENT

WHO = ("beta", "seed", "user_id")
SCORE = ("beta", "relevant", "metric", "method")
LISTS = ("ndcg", "hr", "recall", "mrr")
ERRORS = {"mae": "mae", "mse": "rmse"}


def scores(settings: list[str], store: Path, twins: str) -> pl.DataFrame:
    """Every method's scores by cold user: SCORE, seed, user_id, weight and value."""
    from data_contracts.evaluation import UserErrors, UserLists
    from flows.experiment import run
    from flows.settings import read_settings
    from tasks.report.cells import labelled
    from tasks.store.artifacts import Store

    chosen = read_settings({"store": store}, [*settings, f"twins={twins}"])
    outcome, kept = run(chosen, until="rank"), Store(store.resolve())
    assert outcome.twins is not None, "the twins stage left no artifact"
    print(f"twins={twins}: {kept.read_frame(outcome.twins, 'twins.parquet').height} pairs")
    lists = labelled(kept, outcome.rankings, "user_lists.parquet", UserLists)
    errors = labelled(kept, outcome.evaluations, "user_errors.parquet", UserErrors)
    weighed = errors.rename(ERRORS).with_columns(relevant=pl.lit(""), weight="ratings")
    equal = lists.with_columns(weight=pl.lit(1))
    return pl.concat([_long(weighed, [*ERRORS.values()]), _long(equal, [*LISTS])])


def _long(frame: pl.DataFrame, metrics: list[str]) -> pl.DataFrame:
    keys = [*WHO, "method", "relevant", "weight"]
    long = frame.unpivot(metrics, index=keys, variable_name="metric")
    return long.with_columns(pl.col("weight").cast(pl.Float64))


def effects(kept: pl.DataFrame, dropped: pl.DataFrame) -> pl.DataFrame:
    """A row for each of SCORE: users, both means, their difference and its interval."""
    keys = [*SCORE, "seed", "user_id", "weight"]
    both = kept.rename({"value": "kept"}).join(dropped.rename({"value": "dropped"}), on=keys)
    rows = [
        (*key, *effect(group, key[2] == "rmse"))
        for key, group in both.group_by(*SCORE, maintain_order=True)
    ]
    return pl.DataFrame(
        rows, [*SCORE, "users", "kept", "dropped", "difference", "low", "high"], orient="row"
    )


def effect(rows: pl.DataFrame, root: bool) -> tuple[float | None, ...]:
    """A user is one observation: their sum over ratings or lists of all seeds.

    Args:
        root: the score is the root of the mean, whose difference is that of means over the sum
            of both scores.
    """
    from tasks.report.comparison import paired_interval

    sums = rows.group_by("user_id").agg(pl.col("kept", "dropped") * pl.col("weight"), "weight")
    users = sums.select(pl.col("kept", "dropped", "weight").list.sum())
    per_user = users.select(pl.col("kept", "dropped") / pl.col("weight").mean())
    kept, dropped = per_user.mean().row(0)
    low, high = paired_interval((per_user["dropped"] - per_user["kept"]).to_numpy())
    if root:
        kept, dropped = kept**0.5, dropped**0.5
        low, high = (each and each / (kept + dropped) for each in (low, high))
    return len(users), kept, dropped, dropped - kept, low, high


def plant(folder: Path, share: float) -> list[str]:
    """Write the embedded movies and music; ``share`` of the songs are listed as movies, too."""
    from metaem_core.synthetic.world import SyntheticConfig, generate

    domains = {name: generate(SyntheticConfig(), name) for name in ("movie", "music")}
    movie, music = (
        pl.DataFrame(
            {
                "user_id": [f"u{user}" for user in domain.users],
                "item_id": [f"{name}{item}" for item in domain.items],
                "rating": domain.values,
                "timestamp": domain.timestamps,
            }
        )
        for name, domain in domains.items()
    )
    songs = music["item_id"].unique().sort()
    listed = songs.sample(fraction=share, seed=1)
    both = music.filter(pl.col("user_id").is_in(movie["user_id"].implode()))
    twins = both.filter(pl.col("item_id").is_in(listed.implode()))
    pl.concat([movie, twins]).write_parquet(folder / "movie.parquet")
    music.write_parquet(folder / "music.parquet")
    return ["task=movie-music"]


def of_folder(folder: Path, settings: list[str]) -> list[str]:
    """The settings that read the task's domains from ``folder``."""
    (task,) = (each.removeprefix("task=") for each in settings if each.startswith("task="))
    files = [f"files.files.{name}={folder / name}.parquet" for name in task.split("-")]
    return [*settings, "source=files", *files]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("settings", nargs="*", help="as --set of metaem run takes them")
    parser.add_argument("--folder", type=Path, help="of one Parquet file a domain")
    parser.add_argument("--planted", type=float, help="share of the songs that get a twin")
    parser.add_argument("--out", type=Path, help="keep the store and the table here")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    out, settings = options.out or Path(tempfile.mkdtemp()), options.settings
    if options.planted is not None:
        options.folder = Path(tempfile.mkdtemp())
        settings = [*settings, *plant(options.folder, options.planted)]
    if options.folder is not None:
        settings = of_folder(options.folder, settings)
    table = effects(*(scores(settings, out / "store", twins) for twins in ("keep", "drop")))
    table.write_parquet(out / "twins.parquet")
    with pl.Config(tbl_cols=-1, tbl_rows=-1, float_precision=4, tbl_width_chars=200):
        print(table)


if __name__ == "__main__":
    main()
