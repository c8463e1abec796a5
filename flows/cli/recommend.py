"""``metaem recommend``: items of the target for users who have no ratings there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli.options import STORE, command

if TYPE_CHECKING:
    import polars as pl

    from flows.settings import Settings
    from tasks.store.artifacts import Store

User = Annotated[list[str] | None, typer.Option(help="Id of a user of the source domain.")]
History = Annotated[
    Path | None, typer.Option(help="File of ratings in the source: user_id, item_id, rating.")
]
Everyone = Annotated[
    bool,
    typer.Option("--everyone", help="All of the source who are not in the filtered target."),
]
Top = Annotated[int, typer.Option(min=1, help="How many items each.")]
By = Annotated[
    Literal["choice", "stars"],
    typer.Option(help="Order by what a user would choose, or by the stars that they would give."),
]
Why = Annotated[bool, typer.Option("--why", help="Name the user's items that speak for each.")]
Out = Annotated[Path | None, typer.Option(help="Write them to this Parquet file.")]


@command("task", *STORE, "assignments")
def recommend(
    settings: "Settings",
    store: "Store",
    task: str | None,
    user: User = None,
    history: History = None,
    everyone: Everyone = False,
    top: Top = 10,
    by: By = "choice",
    why: Why = False,
    out: Out = None,
) -> None:
    """Recommend items of the target to users of the source, known or new, without retraining."""
    if sum((bool(user), history is not None, everyone)) != 1:
        raise ValueError("say for whom: one of --user, --history and --everyone")
    from tasks.recommend.artifact import open_recommender
    from tasks.recommend.histories import cold_users, known_users, new_users
    from tasks.recommend.selected_model import select_model
    from tasks.recommend.top_n import count_unknown, likeness
    from tasks.recommend.top_n import recommend as top_items
    from tasks.stages.recommender import recommender_of

    selected = select_model(store, task)
    recommender = open_recommender(store, recommender_of(store, selected))
    if history is not None:
        histories = new_users(history, settings.files, recommender.scale)
    elif user:
        histories = known_users(store, selected.parts, user)
    else:
        histories = cold_users(store, selected.parts)
    recommendations = top_items(recommender, histories, top, why, by)
    if recommender.scale is not None and not histories.rated:
        typer.echo("no column of ratings: every line is a choice, no stars are expected", err=True)
    if unknown := count_unknown(recommender, histories.ratings):
        typer.echo(
            f"{unknown} of {histories.ratings.height} ratings are of items that are not "
            f"among the {len(recommender.source_items)} of {selected.cell['task']}'s source: "
            "passed over",
            err=True,
        )
    if alike := likeness(recommendations, top, len(recommender.target_items)):
        typer.echo(alike, err=True)
    _show(selected.cell["task"], recommendations, out)


def _show(task: str, recommendations: "pl.DataFrame", out: Path | None) -> None:
    """On the terminal, or in a file."""
    from data_contracts.recommendations import Recommendations

    if out is not None:
        Recommendations.validate(recommendations).write_parquet(out)
        users = recommendations["user_id"].n_unique()
        typer.echo(f"{users} users, {recommendations.height} rows: {out}")
        return
    from flows.cli.display import stdout
    from flows.cli.tables import recommendation_tables

    for table in recommendation_tables(task, recommendations):
        stdout().print(table)
