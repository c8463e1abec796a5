"""The mapping of choices: ridges against dense solves, users taken out, a planted world."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig, ChoiceMappingConfig
from metaem_core.data.choices import ChoicePair
from metaem_core.evaluation.ranking import ndcg_at_k, place_at
from metaem_core.federated.choice.device import OverlapDevice, OwnChoices
from metaem_core.federated.secure.server import KeptSum, secure_round
from metaem_core.federated.secure.simulation import in_process
from metaem_core.methods.metaem.choice_mapping import (
    CONSTANT,
    fit_leading,
    fit_vectors,
    scorer,
)
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.methods.metaem.choice_selection import ScoredUsers, list_quality
from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer
from metaem_core.models.choice import ChoiceDomain, ItemFactors
from metaem_core.models.choice_mapping import ChoiceModel, OverlapSums, overlap_sums
from tests.core.test_choice import choices, world

SIZE, LEADING, ITEMS, USERS = 3, 2, 20, 30
ONES = [0, 1 + SIZE]  # places of the features that are one


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (B, 2 + d + p), target vectors, choices (B, n) and item vectors, all at random."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(USERS, 2 + SIZE + LEADING, generator=draw).double()
    features[:, ONES] = 1
    vectors = torch.randn(USERS, SIZE, generator=draw).double()
    items = torch.randn(ITEMS, SIZE, generator=draw).double()
    return features, vectors, world(USERS + 1, ITEMS, 0.3, seed)[1:], items


def summed(features: Tensor, vectors: Tensor, matrix: Tensor) -> OverlapSums:
    return overlap_sums(features, LEADING, vectors, choices(matrix))


def test_sums_over_devices_are_those_of_the_overlap() -> None:
    features, vectors, matrix, _ = problem()
    whole = summed(features, vectors, matrix)
    alone = [
        summed(features[i : i + 1], vectors[i : i + 1], matrix[i : i + 1]) for i in range(USERS)
    ]
    for name in OverlapSums._fields:
        parts = torch.stack([getattr(each, name) for each in alone]).sum(0)
        assert (parts - getattr(whole, name)).abs().max() < 1e-12


def test_masked_sums_over_the_overlap_are_the_open_ones() -> None:
    features, _, matrix, items = problem()
    factors = ItemFactors.of(items.float(), 0.2, 0.1)
    turn = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    x = features.float()
    opened = overlap_sums(x, LEADING, factors.fold_in(choices(matrix)) @ turn, choices(matrix))
    devices = [
        OverlapDevice(x[i : i + 1], LEADING, OwnChoices(row.nonzero().flatten(), 0.2, 0.1))
        for i, row in enumerate(matrix)
    ]
    message = {"vectors": factors.vectors, "gram": factors.gram, "turn": turn}
    server = KeptSum(tuple(part.shape for part in opened), message)
    secure_round(server, in_process(server, devices), len(devices))
    for masked, open_sum in zip(server.sums, opened, strict=True):
        assert (masked - open_sum).abs().max() < 1e-3


def test_both_ridges_minimise_their_losses() -> None:
    features, vectors, matrix, items = problem()
    sums = summed(features, vectors, matrix)
    f, g = features[:, : 1 + SIZE], features[:, 1 + SIZE :]
    weights = fit_vectors(sums, items, SIZE, 10.0).weights.requires_grad_()
    ridge = 0.1 * USERS * weights[1:].square().sum() + 1e-9 * USERS * weights[0].square().sum()
    loss = (f @ weights - vectors).square().sum() + ridge
    assert torch.autograd.grad(loss, weights)[0].abs().max() < 1e-10
    share = torch.rand(ITEMS, generator=torch.Generator().manual_seed(3)).double()
    slopes = fit_leading(sums, share, 5.0, 1.0).table
    slopes[:, 0] -= share
    slopes.requires_grad_()
    ridge = CONSTANT * slopes[:, 0].square().sum() + 5.0 * slopes[:, 1:].square().sum()
    loss = (matrix - share - g @ slopes.T).square().sum() + ridge
    assert torch.autograd.grad(loss, slopes)[0].abs().max() < 1e-10


def standardised(scores: Tensor) -> Tensor:
    return (scores - scores.mean(-1, keepdim=True)) / scores.std(-1, keepdim=True, correction=0)


def test_a_user_is_taken_out_as_if_the_ridges_were_fitted_without_them() -> None:
    features, vectors, matrix, items = problem()
    chosen, share = choices(matrix), matrix.mean(0)
    own_items = items[chosen.items] + 0.1  # of its own vector, without the user
    users = ScoredUsers(features.float(), chosen, vectors.float(), own_items.float(), True)
    sums = summed(features, vectors, matrix)
    fitted = fit_vectors(sums, items, SIZE, 10.0), fit_leading(sums, share, 5.0, 0.7)
    quality = list_quality([fitted[0]], fitted[1], users, 5)
    for user in range(USERS):
        others = torch.arange(USERS) != user
        part = summed(features[others], vectors[others], matrix[others])
        # the same ridge in absolute terms
        again = fit_vectors(part, items, SIZE, 10.0 * USERS / (USERS - 1))
        moved = items.clone()
        moved[matrix[user] > 0] += 0.1
        by_vectors = features[user, : 1 + SIZE] @ again.weights @ moved.T
        table = fit_leading(part, share, 5.0, 0.7).table
        by_leading = table @ features[user, 1 + SIZE :]
        scores = standardised(by_vectors) + 0.7 * standardised(by_leading)
        own = matrix[user].nonzero().flatten().numpy()
        places = place_at(scores[None].numpy(), np.zeros_like(own), own)
        assert quality[user] == pytest.approx(ndcg_at_k(places, 5)[0], abs=1e-6)


def test_a_score_is_the_weighted_sum_of_standardised_ones() -> None:
    features, vectors, matrix, items = problem()
    sums = summed(features, vectors, matrix)
    sizes = 1, 3
    mappings = [fit_vectors(sums, items, size, 10.0) for size in sizes]
    leading = fit_leading(sums, matrix.mean(0), 5.0, 0.7)
    combined = scorer(mappings, leading)
    expected = 0.7 * standardised(features[:, 1 + SIZE :] @ leading.table.T)
    for size, mapping in zip(sizes, mappings, strict=True):
        expected += standardised(features[:, : 1 + size] @ mapping.weights @ mapping.items.T) / 2
    scores = combined.scores(features.float())
    assert (scores - expected).abs().max() < 1e-4
    every = torch.arange(ITEMS).expand(USERS, -1)
    slopes = combined.slopes(features.float(), every)
    assert ((slopes @ features.float().unsqueeze(2)).squeeze(2) - scores).abs().max() < 1e-4


def planted(carried: float, seed: int) -> tuple[Tensor, Tensor]:
    """Choices of 400 users in two domains by tastes that agree as much as ``carried`` says."""
    draw = np.random.default_rng(seed)
    common, own = draw.normal(size=(2, 400, 2))
    taste = np.sqrt(carried) * common + np.sqrt(1 - carried) * own
    sides = []
    for users in (common, taste):
        items = draw.normal(size=(60, 2))
        utility = 1.5 * users @ items.T + draw.normal(size=60) - 2.5
        sides.append(torch.from_numpy(draw.random(utility.shape) < 1 / (1 + np.exp(-utility))))
    return sides[0].double(), sides[1].double()


def transferred(source: Tensor, target: Tensor) -> tuple[ChoiceTransfer, ChoiceModel]:
    """Users 0 to 199 train, 200 to 249 validate, and the others are cold."""
    known = target.clone()
    known[200:] = 0
    config = ChoiceConfig(size=8, epochs=10)
    domains: list[ChoiceDomain] = []
    for side in (source, known):
        work = ChoicePretraining(config, choices(side))
        list(work.training.epochs(lambda _: None))
        domains.append(work.model())
    train, validation = torch.arange(200), torch.arange(200, 250)
    pair = ChoicePair(choices(source), choices(known), train, train)
    sizes = ChoiceMappingConfig(sizes=(2, 4, 8))
    held_out = choices(target).of_users(validation)
    work_2 = ChoiceTransfer(sizes, *domains, pair, validation, held_out)
    return work_2, work_2.fit()


def quality(scores: Tensor, target: Tensor) -> np.ndarray:
    users, items = target.nonzero().T.numpy()
    known, rows = np.unique(users, return_inverse=True)
    return ndcg_at_k(place_at(scores[known].numpy(), rows, items), 10)


@pytest.mark.parametrize("carried", [0.9, 0.0])
def test_lists_follow_tastes_that_carry_over_and_popularity_where_none_do(carried: float) -> None:
    source, target = planted(carried, 1)
    work, model = transferred(source, target)
    cold = torch.arange(250, 400)
    ours = quality(model.scores(choices(source).of_users(cold)), target[cold])
    popular = quality(target[:200].sum(0).expand(150, -1), target[cold])
    gain = ours.mean() - popular.mean()
    error = (ours - popular).std() / len(ours) ** 0.5
    assert gain > 5 * error if carried else gain > -3 * error
    assert work.candidates[0].ndcg > 0
