"""What a private run told of a user, as its last artifact has it."""

from typing import TypedDict, cast

from tasks.store.artifacts import ArtifactRef, Store

ACCOUNT = "privacy.json"


class Account(TypedDict):
    """``privacy.json`` of a private mapping: of all its run's releases together."""

    epsilon: float | None  # allowed; None: any
    delta: float
    spent: float | None  # in closed form (Balle and Wang 2018); None without noise
    spent_by_losses: float | None  # by dp-accounting; None where it is coarse or slow


def account_of(store: Store, mapping: ArtifactRef) -> Account | None:
    """What the run behind a mapping told of a user; None if no privacy was asked for."""
    if ACCOUNT not in store.manifest(mapping).files:
        return None
    return cast(Account, store.read_json(mapping, ACCOUNT))
