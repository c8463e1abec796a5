"""``metaem bytes``: what training costs a device and a company in traffic."""

import typer

from flows.cli.options import Assignments, Config, Task, open_settings
from flows.errors import plain_errors


def bytes_(
    context: typer.Context,
    task: Task = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Count the bytes of a pretraining round at the paper's sizes, from encoded messages."""
    with plain_errors():
        settings = open_settings(context.params)
        from flows.cli.display import stdout
        from flows.cli.traffic_tables import traffic_table
        from metaem_core.synthetic.size import SCALES

        sizes = {str(name): size for name, size in SCALES["table2"].domains.items()}
        if unknown := [domain for domain in settings.domains if domain not in sizes]:
            raise ValueError(f"--task: Table 2 has no domain {unknown[0]!r}, only {[*sizes]}")
        for domain in settings.domains:
            stdout().print(traffic_table(domain, sizes[domain], settings.pretrain))
