"""Which shared users train, validate and stay cold."""

import polars as pl

from data_contracts.ratings import Split
from metaem_core.data.splitting import SplitConfig, digest, split_overlap
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@stage("split")
def split_users(
    store: Store, config: SplitConfig, source: ArtifactRef, target: ArtifactRef
) -> ArtifactRef:
    """Assign the users of both domains to roles."""
    source_users = store.read_frame(source, "users.parquet")
    target_users = store.read_frame(target, "users.parquet")
    overlap = source_users.join(target_users, on="user_id", how="semi")["user_id"].to_list()
    split = split_overlap(overlap, config)
    roles = {"train": split.train, "validation": split.validation, "cold": split.cold}
    rows = [(user, role) for role, users in roles.items() for user in users]
    frame = pl.DataFrame(rows, schema=["user_id", "role"], orient="row").sort("user_id")
    with store.draft() as draft:
        draft.write_frame("split.parquet", frame, Split)
        draft.write_json(
            "split.json",
            {"beta": config.cold_fraction, "seed": config.seed, "digest": digest(split)},
        )
    return draft.ref
