"""Notes beside the scores: dropped lines, and how many users the scores rest on."""

from collections.abc import Iterator, Mapping

from data_contracts.ratings import INVALID
from flows.steps import Outcome
from tasks.models.data import read_split
from tasks.store.artifacts import Store

FEW = {"training": 100, "cold": 50}  # users below which scores are noise


def notes(store: Store, outcome: Outcome) -> Iterator[str]:
    """A line on what was left out, per domain that lost ratings, per split, per small split."""
    if outcome.left_out:
        yield outcome.left_out
    for domain, ref in outcome.domains.items():
        counts = store.read_frame(ref, "counts.parquet").row(0, named=True)
        yield from _dropped(domain, counts)
    yield from _twins(store, outcome)
    for beta, ref in {beta: ref for (beta, _), ref in outcome.splits.items()}.items():
        roles = read_split(store, ref)  # seeds change who, not how many
        sizes = {
            "training": len(roles.train),
            "validation": len(roles.validation),
            "cold": len(roles.cold),
        }
        yield from _sizes(f"beta {beta:g}", sizes)


def _dropped(domain: str, counts: Mapping[str, int]) -> Iterator[str]:
    invalid = {reason: counts[reason] for reason in INVALID if counts[reason]}
    if invalid:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in invalid.items())
        total, lines = sum(invalid.values()), counts["lines"]
        yield f"{domain}: dropped {total:,} of {lines:,} lines ({reasons})"
    if repeated := counts["duplicates"]:
        yield f"{domain}: removed {repeated:,} repeated rating(s) of one item by one user"


def _twins(store: Store, outcome: Outcome) -> Iterator[str]:
    if outcome.twins is None:
        return
    pairs = store.read_frame(outcome.twins, "twins.parquet")
    source, target = outcome.domains
    if not pairs.is_empty():
        alike, dropped = pairs["source_item"].n_unique(), outcome.domains[source] == outcome.twins
        items = store.read_frame(outcome.domains[source], "items.parquet").height
        among = "" if dropped else f" of {items:,} ({alike / items:.2%})"
        yield (
            f"{source}: {alike:,} item(s){among} with nearly the same raters as an item of "
            f"{target}, {'left out' if dropped else 'kept; --set twins=drop leaves them out'}"
        )


def _sizes(where: str, sizes: Mapping[str, int]) -> Iterator[str]:
    yield f"{where}: {', '.join(f'{size:,} {role}' for role, size in sizes.items())} users"
    for role, enough in FEW.items():
        if sizes[role] < enough:
            yield f"warning: {where} has fewer than {enough} {role} users: its scores are noise"
