"""``metaem bytes``: what training costs a device and a company in traffic."""

from typing import TYPE_CHECKING

from flows.cli.options import command

if TYPE_CHECKING:
    from flows.settings import Settings


@command("task", "config", "assignments")
def bytes_(settings: "Settings") -> None:
    """Count the bytes of a pretraining round at the paper's sizes, from encoded messages."""
    from flows.cli.display import stdout
    from flows.cli.tables import traffic_table
    from metaem_core.synthetic.size import SCALES

    sizes = {str(name): size for name, size in SCALES["table2"].domains.items()}
    if unknown := [domain for domain in settings.domains if domain not in sizes]:
        raise ValueError(f"--task: Table 2 has no domain {unknown[0]!r}, only {[*sizes]}")
    for domain in settings.domains:
        stdout().print(traffic_table(domain, sizes[domain], settings.pretrain))
