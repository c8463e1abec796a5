"""What a run has to say besides scores."""

from collections.abc import Iterator, Mapping

from data_contracts.counts import INVALID
from flows.grid import Outcome
from tasks.artifacts import Store


def notes(store: Store, outcome: Outcome) -> Iterator[str]:
    """Which lines did not become ratings."""
    for domain, ref in outcome.domains.items():
        counts = store.read_frame(ref, "counts.parquet").row(0, named=True)
        yield from _dropped(domain, counts)


def _dropped(domain: str, counts: Mapping[str, int]) -> Iterator[str]:
    why = {reason: counts[reason] for reason in INVALID if counts[reason]}
    if why:
        told = ", ".join(f"{reason} {count:,}" for reason, count in why.items())
        yield f"{domain}: dropped {sum(why.values()):,} of {counts['lines']:,} lines ({told})"
    if repeated := counts["duplicates"]:
        yield f"{domain}: removed {repeated:,} repeated rating(s) of one item by one user"
