"""The mapping of choices: ridges against their losses, masked sums, a planted world."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig, ChoiceMappingConfig
from metaem_core.data.choices import ChoicePair
from metaem_core.evaluation.ranking import ndcg_at_k, place_at
from metaem_core.federated.choice.device import (
    CountDevice,
    OverlapDevice,
    OwnChoices,
    count_message,
)
from metaem_core.federated.secure.server import KeptSum, secure_round
from metaem_core.federated.secure.simulation import in_process
from metaem_core.methods.metaem.choice_mapping import (
    CONSTANT,
    fit_leading,
    fit_vectors,
)
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer
from metaem_core.models.choice import ChoiceDomain, ItemFactors, enough
from metaem_core.models.choice_mapping import (
    ChoiceModel,
    ChoiceScorer,
    OverlapSums,
    overlap_sums,
)
from tests.core.test_choice import choices, world

SIZE, LEADING, ITEMS, USERS = 3, 2, 20, 30
EVERY = torch.ones(ITEMS, dtype=torch.bool)  # row is added up
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
    return overlap_sums(features, LEADING, vectors, choices(matrix), EVERY)


def test_sums_over_devices_are_those_of_the_overlap() -> None:
    features, vectors, matrix, _ = problem()
    whole = summed(features, vectors, matrix)
    alone = [
        summed(features[i : i + 1], vectors[i : i + 1], matrix[i : i + 1]) for i in range(USERS)
    ]
    for name in OverlapSums._fields:
        parts = torch.stack([getattr(each, name) for each in alone]).sum(0)
        assert (parts - getattr(whole, name)).abs().max() < 1e-12
    torch.testing.assert_close(whole.average, features.mean(0))


def test_masked_sums_over_the_overlap_are_the_open_ones() -> None:
    features, _, matrix, items = problem()
    factors = ItemFactors.of(items.float(), 0.2, 0.1)
    turn = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    x = features.float()
    matrix[:, :2] = 0
    matrix[0, :2] = matrix[1, 1] = 1  # rows of one user and of two
    summed = matrix.sum(0) >= 3
    vectors = factors.fold_in(choices(matrix)) @ turn
    opened = overlap_sums(x, LEADING, vectors, choices(matrix), summed)
    assert (opened.chosen[:, 0] == torch.where(summed, matrix.sum(0), 0)).all()
    own = [OwnChoices(row.nonzero().flatten(), 0.2, 0.1) for row in matrix]
    first = KeptSum((torch.Size((ITEMS,)),), count_message(ITEMS))
    secure_round(first, in_process(first, [*map(CountDevice, own)]), len(own))
    assert torch.equal(enough(first.sums[0]), summed)
    devices = [OverlapDevice(x[i : i + 1], LEADING, each) for i, each in enumerate(own)]
    message = {"vectors": factors.vectors, "gram": factors.gram, "turn": turn, "summed": summed}
    server = KeptSum(tuple(part.shape for part in opened), message)
    secure_round(server, in_process(server, devices), len(devices))
    for masked, open_sum in zip(server.sums, opened, strict=True):
        assert (masked - open_sum).abs().max() < 1e-3


def test_both_ridges_minimise_their_losses() -> None:
    features, vectors, matrix, _ = problem()
    sums = summed(features, vectors, matrix)
    f, g = features[:, : 1 + SIZE], features[:, 1 + SIZE :]
    # of items that are the axes, the table is W' itself
    weights = fit_vectors(sums, torch.eye(SIZE).double(), SIZE, 10.0).T.clone().requires_grad_()
    ridge = 0.1 * USERS * weights[1:].square().sum() + 1e-9 * USERS * weights[0].square().sum()
    loss = (f @ weights - vectors).square().sum() + ridge
    assert torch.autograd.grad(loss, weights)[0].abs().max() < 1e-10
    share = torch.rand(ITEMS, generator=torch.Generator().manual_seed(3)).double()
    slopes = fit_leading(sums, share, 5.0)
    slopes[:, 0] -= share
    slopes.requires_grad_()
    ridge = CONSTANT * slopes[:, 0].square().sum() + 5.0 * slopes[:, 1:].square().sum()
    loss = (matrix - share - g @ slopes.T).square().sum() + ridge
    assert torch.autograd.grad(loss, slopes)[0].abs().max() < 1e-10


def test_an_item_of_few_users_keeps_its_share() -> None:
    features, vectors, matrix, _ = problem()
    few = EVERY.clone()
    few[4] = False
    sums = overlap_sums(features, LEADING, vectors, choices(matrix), few)
    share = matrix.mean(0)
    table, whole = (
        fit_leading(sums, share, 5.0),
        fit_leading(summed(features, vectors, matrix), share, 5.0),
    )
    assert table[4].tolist() == [share[4], *[0] * LEADING]
    torch.testing.assert_close(table[few], whole[few])


def standardised(scores: Tensor) -> Tensor:
    return (scores - scores.mean(-1, keepdim=True)) / scores.std(-1, keepdim=True, correction=0)


def test_a_score_is_the_weighted_sum_of_standardised_ones() -> None:
    features, vectors, matrix, items = problem()
    sums = summed(features, vectors, matrix)
    tables = [fit_vectors(sums, items, size, 10.0) for size in (1, 3)]
    tables.append(fit_leading(sums, matrix.mean(0), 5.0))
    scorer = ChoiceScorer.of(tables, 0.7)
    expected = 0.7 * standardised(features[:, 1 + SIZE :] @ tables[-1].T)
    for table in tables[:-1]:
        expected += standardised(features[:, : table.shape[1]] @ table.T) / 2
    scores = scorer.scores(features)
    assert (scores - expected).abs().max() < 1e-9
    slopes = scorer.slopes(features, torch.arange(ITEMS).expand(USERS, -1))
    assert ((slopes @ features.unsqueeze(2)).squeeze(2) - scores).abs().max() < 1e-9


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


def transferred(source: Tensor, target: Tensor) -> ChoiceModel:
    """Users 0 to 199 train, and the others are cold."""
    known = target.clone()
    known[200:] = 0
    domains: list[ChoiceDomain] = []
    for side in (source, known):
        work = ChoicePretraining(ChoiceConfig(size=8, epochs=10), choices(side))
        list(work.training.epochs(lambda _: None))
        domains.append(work.model())
    train = torch.arange(200)
    transfer = ChoiceTransfer.of(ChoiceMappingConfig(sizes=(2, 4, 8)), *domains)
    return transfer.model(transfer.sums(ChoicePair(choices(source), choices(known), train, train)))


def quality(scores: Tensor, target: Tensor) -> np.ndarray:
    users, items = target.nonzero().T.numpy()
    known, rows = np.unique(users, return_inverse=True)
    return ndcg_at_k(place_at(scores[known].numpy(), rows, items), 10)


@pytest.mark.parametrize("carried", [0.9, 0.0])
def test_lists_follow_tastes_that_carry_over_and_popularity_where_none_do(carried: float) -> None:
    source, target = planted(carried, 1)
    model, cold = transferred(source, target), torch.arange(200, 400)
    ours = quality(model.scores(choices(source).of_users(cold)), target[cold])
    popular = quality(target[:200].sum(0).expand(200, -1), target[cold])
    gain = ours.mean() - popular.mean()
    error = (ours - popular).std() / len(ours) ** 0.5
    assert gain > 5 * error if carried else gain > -3 * error
