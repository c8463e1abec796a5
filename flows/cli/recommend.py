"""``metaem recommend``: what someone without ratings in the target would like there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import Assignments, Config, StoreFolder, Task, open_settings, open_store
from flows.errors import plain_errors

if TYPE_CHECKING:
    import polars as pl

User = Annotated[list[str] | None, typer.Option(help="Id of a user of the source domain.")]
History = Annotated[
    Path | None, typer.Option(help="File of ratings in the source: user_id, item_id, rating.")
]
Everyone = Annotated[
    bool,
    typer.Option("--everyone", help="All of the source who are not in the filtered target."),
]
Best = Annotated[int, typer.Option(min=1, help="How many items each.")]
Why = Annotated[bool, typer.Option("--why", help="Name the rated items that speak for each.")]
Out = Annotated[Path | None, typer.Option(help="Write them to this Parquet file.")]


def recommend(
    context: typer.Context,
    user: User = None,
    history: History = None,
    everyone: Everyone = False,
    top: Best = 10,
    why: Why = False,
    out: Out = None,
    task: Task = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Recommend items of the target to users of the source, known or new, without retraining."""
    with plain_errors():
        if sum((bool(user), history is not None, everyone)) != 1:
            raise ValueError("say for whom: one of --user, --history and --everyone")
        settings = open_settings(context.params)
        opened = open_store(store, config)
        from tasks.recommend.histories import everyone_cold, known_users, newcomers
        from tasks.recommend.selected_model import winner
        from tasks.recommend.top_n import open_recommender
        from tasks.recommend.top_n import recommend as recommended
        from tasks.stages.recommender import recommender_of

        chosen = winner(opened, task)
        made = open_recommender(opened, recommender_of(opened, chosen))
        if history is not None:
            people = newcomers(history, settings.files, made.scale)
        elif user:
            people = known_users(opened, chosen.parts, user)
        else:
            people = everyone_cold(opened, chosen.parts)
        found = recommended(made, *people, top, why)
        if unknown := made.unknown(people.histories):
            typer.echo(
                f"{unknown} of {people.histories.height} ratings are of items that are not "
                f"among the {len(made.source_items)} of {chosen.cell['task']}'s source: "
                "passed over",
                err=True,
            )
        _tell(chosen.cell["task"], found, out)


def _tell(task: str, found: "pl.DataFrame", out: Path | None) -> None:
    """Show recommendations, or write them to a file."""
    from data_contracts.recommendations import Recommendations

    if out is not None:
        Recommendations.validate(found).write_parquet(out)
        typer.echo(f"{found['user_id'].n_unique()} users, {found.height} rows: {out}")
        return
    from flows.cli.display import recommendation_tables, stdout

    for table in recommendation_tables(task, found):
        stdout().print(table)


def register(
    context: typer.Context,
    task: Task = None,
    store: StoreFolder = None,
    config: Config = None,
) -> None:
    """Make what `recommend` recommends with the champion of MLflow's model registry."""
    with plain_errors():
        settings = open_settings(context.params)
        opened = open_store(store, config)
        from tasks.recommend.selected_model import winner
        from tasks.stages.recommender import recommender_of
        from tasks.tracking.mlflow import Tracking
        from tasks.tracking.registry import ALIAS
        from tasks.tracking.registry import register as registered

        chosen = winner(opened, task)
        where = Tracking.chosen(settings.tracking_uri, opened)
        made = registered(opened, where, recommender_of(opened, chosen), chosen)
        cell = f"beta {chosen.cell['beta']:g}, seed {chosen.cell['seed']}"
        state = "now" if made.new else "already"
        typer.echo(
            f"{made.name} version {made.version} is {state} {ALIAS} in {where}: {cell}, "
            f"RMSE of validation users {chosen.validation_rmse:.4f}"
        )
        typer.echo(f"load it:  mlflow.set_tracking_uri('{where}')")
        typer.echo(f"          mlflow.pyfunc.load_model('models:/{made.name}@{ALIAS}')")
