"""``metaem bytes``: what training costs a device and a company in traffic."""

import typer

from flows.options import Assignments, Config, Task, open_settings, plain_errors


def bytes_(
    context: typer.Context,
    task: Task = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Count the bytes of a pretraining round at the paper's sizes, from encoded messages."""
    with plain_errors():
        settings = open_settings(context.params)
        from flows.display import stdout, traffic_table

        for domain in settings.task.split("-"):
            stdout().print(traffic_table(domain, settings.pretrain))
