"""Tables of what federated rounds cost and reveal; apart, as torch costs seconds."""

from collections.abc import Sequence

from rich.filesize import decimal
from rich.table import Table

from metaem_core.config.pretrain import PretrainConfig
from metaem_core.federated.bytes import WAYS, DomainShape, traffic
from metaem_core.privacy.attacks.audit import Audit
from metaem_core.synthetic.size import DomainSize


def traffic_table(domain: str, size: DomainSize, config: PretrainConfig) -> Table:
    """A row per payload: a device's bytes, the ratio to FCF, and all devices' bytes."""
    mean = round(size.ratings / size.users)
    title = f"{domain}: {size.items:,} items, {size.users:,} devices with {mean} ratings each"
    table = Table(title=title, title_justify="left")
    table.add_column("way", no_wrap=True)
    for column in ("down", "up", "of fcf-32", "all devices once"):
        table.add_column(column, justify="right")
    shape = DomainShape(size.items, mean)
    base = traffic("fcf-32", shape, config)
    for way in WAYS:
        cost = traffic(way, shape, config)
        everyone = decimal(cost.both * size.users)
        share = f"{cost.both / base.both:.2%}"
        table.add_row(way, decimal(cost.down), decimal(cost.up), share, everyone)
    return table


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
