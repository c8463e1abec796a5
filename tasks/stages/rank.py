"""Every method's lists of target items for the cold users, and what they are worth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from data_contracts.evaluation import ListScores, UserLists
from metaem_core.config.choice import ChoiceBaselinesConfig
from metaem_core.evaluation.lists import Lists, RankConfig, diversity, rank_sampled
from metaem_core.evaluation.lists import rank as rank_catalogue
from tasks.models.data import SplitPair, read_pair
from tasks.models.evaluated_cell import write_cell
from tasks.models.method_id import write_methods
from tasks.progress import advance
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage

if TYPE_CHECKING:
    from torch import Tensor

    from metaem_core.data.choices import ChoicePair, Choices
    from tasks.models.rankers import Ranker


@dataclass(frozen=True)
class RankRequest:
    """How lists are compared, and the baselines' settings."""

    config: RankConfig
    baselines: ChoiceBaselinesConfig = field(default_factory=ChoiceBaselinesConfig)

    def identity(self) -> dict[str, object]:
        """The settings by their own names."""
        return {**asdict(self.config), "baselines": asdict(self.baselines)}


@stage("rank")
def rank(
    store: Store,
    request: RankRequest,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
    choice_mapping: ArtifactRef,
    star_mapping: ArtifactRef | None,
    other_methods: list[ArtifactRef],
) -> ArtifactRef:
    """Rank the whole catalogue for the cold users by every method.

    Args:
        star_mapping: MetaEM's, where both domains have stars.
        other_methods: that predict stars.
    """
    # torch is imported only by runs that predict
    from metaem_core.data.choices import ChoicePair
    from tasks.models.rankers import choice_rankers, star_rankers

    config, data = request.config, read_pair(store, source, target, split)
    pair = ChoicePair.of(data.pair, config.thresholds)
    users, relevant, ids = _cold(data, pair, config)
    methods = choice_rankers(store, pair, choice_mapping, request.baselines)
    if star_mapping is not None:
        methods += star_rankers(store, data, star_mapping, other_methods)
    ranked, sampled, too_large = _ranked(methods, users, relevant, config)
    known = int((pair.target.counts > 0).sum())
    frame = pl.DataFrame(
        [*_scores(ranked, sampled, config, pair.target.popularity(), known)],
        schema=ListScores.column_names(),
        orient="row",
    )
    with store.draft() as draft:
        draft.write_frame("list_scores.parquet", ListScores.cast(frame), ListScores)
        draft.write_frame("user_lists.parquet", _by_user(ranked, ids), UserLists)
        write_cell(draft, store, config.task, split)
        draft.write_json("left_out.json", too_large)
        write_methods(draft, [method for method, _ in methods if method.name in ranked])
    return draft.ref


def _cold(
    data: SplitPair, pair: "ChoicePair", config: RankConfig
) -> "tuple[Tensor, Mapping[str, Choices], pl.Series]":
    """Source indices of cold users with a choice in both domains, what they chose, their ids."""
    import torch

    from metaem_core.data.choices import Choices
    from metaem_core.data.ratings import liked
    from metaem_core.training.seeds import drawn_positions

    ids = data.roles.cold
    users, chosen = data.held_out_choices(ids, config.thresholds[1])
    place = pair.known(users, chosen)
    if config.users is not None:
        place = place[torch.from_numpy(drawn_positions(len(place), config.users, config.seed))]
    if len(place) == 0:
        raise ValueError("no cold user chose in both domains; check choice.threshold and betas")
    theirs = torch.from_numpy(data.target.users(ids))[place]
    high = Choices.of(liked(data.target.ratings, config.scale)).of_users(theirs)
    relevant = {"chosen": chosen.of_users(place), "liked": high}
    return users[place], relevant, ids.gather(place.numpy())


def _ranked(
    methods: "Sequence[Ranker]",
    users: "Tensor",
    relevant: "Mapping[str, Choices]",
    config: RankConfig,
) -> tuple[dict[str, Lists], dict[str, dict[str, float]], dict[str, str]]:
    """By method: lists, measures among sampled items, and why there are none."""
    from metaem_core.methods.choice_baselines.joint import TooLarge

    ranked, sampled, too_large = {}, {}, {}
    for done, (method, fit) in enumerate(methods):
        advance(done, len(methods), unit="method", note=method.label)
        try:
            scores = fit()
        except TooLarge as error:
            too_large[method.label] = str(error)
            continue
        ranked[method.name] = rank_catalogue(scores, users, relevant, config)
        if config.negatives:
            sampled[method.name] = rank_sampled(scores, users, relevant["chosen"], config)
    return ranked, sampled, too_large


def _scores(
    ranked: Mapping[str, Lists],
    sampled: Mapping[str, Mapping[str, float]],
    config: RankConfig,
    popularity: "Tensor",
    n_users: int,
) -> Iterator[tuple[str, str, str, float]]:
    for name, lists in ranked.items():
        for relevant, measures in lists.measures.items():
            for measure, values in measures.items():
                if not np.isnan(values).all():
                    yield name, relevant, config.metrics[measure], float(np.nanmean(values))
        for measure, value in sampled.get(name, {}).items():
            yield name, "sampled", config.metrics[measure], value
        for measure, value in diversity(lists.top, popularity, n_users).items():
            yield name, "", measure, value


def _by_user(ranked: Mapping[str, Lists], ids: pl.Series) -> pl.DataFrame:
    frames = [
        pl.DataFrame({"user_id": ids, **measures}).select(
            pl.lit(name).alias("method"), "user_id", pl.lit(relevant).alias("relevant"), *measures
        )
        for name, lists in ranked.items()
        for relevant, measures in lists.measures.items()
    ]
    return pl.concat(frames).filter(pl.col("ndcg").is_not_nan())
