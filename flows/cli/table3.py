"""``metaem table3``: every method on every task."""

from collections.abc import Mapping
from typing import Annotated

import typer

from flows.cli.options import STAGES, command, open_settings

Tasks = Annotated[str, typer.Option(help="Tasks, such as movie-music,book-music.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="How many: 10 are 1 to 10.")]
Runner = Annotated[str, typer.Option(help="local processes, or a cluster: dask, ray.")]
Address = Annotated[str | None, typer.Option(help="Of the cluster: tcp://host:8786.")]


@command("betas", "methods", "bases", "workers", *STAGES)
def table3(
    options: Mapping[str, object],
    tasks: Tasks = "movie-music,book-movie,book-music",
    seeds: Seeds = None,
    runner: Runner = "local",
    address: Address = None,
) -> None:
    """Run all of Table 3: every task, cold fraction, method, base model; ten seeds."""
    numbers = ",".join(str(seed) for seed in range(1, seeds + 1)) if seeds else None
    settings = open_settings({**options, "seeds": numbers})
    from flows.cli.display import progress
    from flows.cli.outcome import show_notes, show_results
    from flows.table3 import completed, run

    settings = completed(settings)
    with progress():
        outcomes = run(settings, tasks.split(","), runner, address)
    for task, outcome in outcomes.items():
        show_notes(settings, outcome, f"{task}, ")
    show_results(settings, *outcomes.values())
