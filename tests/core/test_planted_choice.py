"""The embedded world plants choices that carry over: lists for new users tell them apart."""

import numpy as np
import pytest
import torch

from metaem_core.config.choice import ChoiceConfig, ChoiceMappingConfig
from metaem_core.data.choices import ChoicePair, Choices
from metaem_core.data.ratings import Ints
from metaem_core.evaluation.lists import RankConfig, rank
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer
from metaem_core.models.choice import ChoiceDomain
from metaem_core.synthetic.size import Domain
from metaem_core.synthetic.world import SyntheticConfig, generate


def pretrained(choices: Choices) -> ChoiceDomain:
    work = ChoicePretraining(ChoiceConfig(seed=1), choices)
    for _ in work.training.epochs(lambda _: None):
        pass
    return work.model()


def planted(shared: float, name: Domain) -> tuple[Ints, Choices]:
    """User numbers, ascending, and what each chose."""
    domain = generate(SyntheticConfig(shared=shared), name)
    ids, users = np.unique(domain.users, return_inverse=True)
    return ids, Choices.of_pairs(users, domain.items, len(ids), int(domain.items.max()) + 1)


@pytest.mark.parametrize(("shared", "carries"), [(0.6, True), (0.0, False)])
def test_choices_carry_over_only_where_tastes_do(shared: float, carries: bool) -> None:
    (ids, source), (others, target) = planted(shared, "movie"), planted(shared, "music")
    both = np.random.default_rng(1).permutation(np.intersect1d(ids, others))
    cold, validation, training = np.split(both, [len(both) // 2, len(both) // 2 + 75])
    mine = {
        name: torch.from_numpy(np.searchsorted(ids, u))
        for name, u in (("cold", cold), ("validation", validation), ("training", training))
    }
    held = np.isin(others, [*cold, *validation])
    owner, items = target.owner.numpy(), target.items.numpy()
    kept = ~held[owner]
    known = Choices.of_pairs(owner[kept], items[kept], target.n_users, target.n_items)
    theirs = {
        name: torch.from_numpy(np.searchsorted(others, u))
        for name, u in (("cold", cold), ("validation", validation), ("training", training))
    }
    pair = ChoicePair(source, known, mine["training"], theirs["training"])
    domains = pretrained(source), pretrained(known)
    transfer = ChoiceTransfer.of(ChoiceMappingConfig(), *domains)
    model = transfer.model(transfer.sums(pair))
    popularity = known.popularity().double()
    relevant = {"chosen": target.of_users(theirs["cold"])}
    ours, common = (
        rank(scores, mine["cold"], relevant, RankConfig("movie-music")).measures["chosen"]["ndcg"]
        for scores in (
            model.scores_of(source),
            lambda users: popularity.expand(len(users), -1),
        )
    )
    gain = ours - common
    z = gain.mean() / gain.std() * len(gain) ** 0.5
    assert z > 5 if carries else z < 3
    if carries:
        new = torch.from_numpy(np.flatnonzero(~np.isin(ids, others)))
        top = model.scores(source.of_users(new)).topk(10).indices
        assert len(new) == 5_500
        assert top[:, 0].bincount().max() < len(new) / 3
        assert len(top.unique()) > target.n_items / 5
