"""Tables of what federated rounds cost and reveal; apart, as torch costs seconds."""

from collections.abc import Sequence

from rich.filesize import decimal
from rich.table import Table

from flows.cli.tables import plain_table
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.federated.bytes import WAYS, DomainShape, traffic
from metaem_core.privacy.attacks.audit import Audit
from metaem_core.synthetic.size import DomainSize


def traffic_table(domain: str, size: DomainSize, config: PretrainConfig) -> Table:
    """A row per payload: a device's bytes, the ratio to FCF, and all devices' bytes."""
    mean = round(size.ratings / size.users)
    title = f"{domain}: {size.items:,} items, {size.users:,} devices with {mean} ratings each"
    columns = ["way", "down", "up", "of fcf-32", "all devices once"]
    costs = {way: traffic(way, DomainShape(size.items, mean), config) for way in WAYS}
    base = costs["fcf-32"].both
    rows = (
        (
            way,
            *map(decimal, (cost.down, cost.up)),
            f"{cost.both / base:.2%}",
            decimal(cost.both * size.users),
        )
        for way, cost in costs.items()
    )
    return plain_table(title, columns, rows)


def audit_table(domain: str, devices: int, audits: Sequence[Audit]) -> Table:
    """A row per mode: how much of each upload the attack reconstructs."""
    title = f"{domain}: one upload of each of {devices} devices, as its server reads it"
    table = Table(title=title, title_justify="left")
    table.add_column("mode", no_wrap=True)
    for column in ("item sets", "ratings", "AUC"):
        table.add_column(column, justify="right")
    table.add_column("the server learns")
    for audit in audits:
        leak = audit.leak
        shares = f"{leak.item_sets:.1%}", f"{leak.ratings:.1%}", f"{leak.auc:.3f}"
        table.add_row(audit.mode, *shares, audit.in_words(audits[-1].leak))
    return table
