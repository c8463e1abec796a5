"""The model of choice: rounds against dense algebra, masks against open sums."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice import training
from metaem_core.federated.choice.device import ChoiceDevice, OwnChoices, choice_step
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.secure.server import secure_round
from metaem_core.federated.secure.simulation import in_process
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.models.choice import ChoiceDomain, ItemFactors

EXACT = {torch.float32: 1e-6, torch.float64: 1e-12}


def world(users: int, items: int, share: float, seed: int = 0) -> Tensor:
    """Who chose what (users, items), as zeros and ones; the first user chose nothing."""
    draw = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(users, items, generator=draw) < share).double()
    chosen[0] = 0
    return chosen


def choices(matrix: Tensor) -> Choices:
    users, items = matrix.nonzero().T.numpy()
    return Choices.of_pairs(users, items, *matrix.shape)


def dense_vectors(matrix: Tensor, vectors: Tensor, a: float, l2: float) -> Tensor:
    """The users that minimise the loss, one dense solve each."""
    users = []
    for row in matrix:
        own = vectors[row > 0]
        ridge = l2 * (len(own) + a * len(vectors)) * torch.eye(vectors.shape[1]).double()
        square = own.T @ own + a * vectors.T @ vectors + ridge
        users.append(torch.linalg.solve(square, own.sum(0)))
    return torch.stack(users)


def whole_loss(matrix: Tensor, users: Tensor, items: Tensor, a: float, l2: float) -> Tensor:
    """As the module's docstring of models/choice.py has it, over all pairs; users with a choice."""
    score = users @ items.T
    n, m = len(items), int((matrix.sum(1) > 0).sum())
    fit = (matrix * (1 - score).square()).sum() + a * score.square().sum()
    ridge = ((matrix.sum(1) + a * n) * users.square().sum(1)).sum()
    return fit + l2 * (ridge + ((matrix.sum(0) + a * m) * items.square().sum(1)).sum())


@pytest.mark.parametrize("dtype", EXACT)
def test_a_vector_solves_the_dense_equations(dtype: torch.dtype) -> None:
    matrix = world(60, 40, 0.2)  # some users have fewer than k = 6 choices, some more
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
    folded = ItemFactors.of(vectors, 0.3, 0.05).fold_in(choices(matrix))
    expected = dense_vectors(matrix, vectors.double(), 0.3, 0.05)
    assert (folded.double() - expected).abs().max() < 10 * EXACT[dtype]


@pytest.mark.parametrize("dtype", EXACT)
def test_a_cohort_answers_as_its_devices_one_by_one(dtype: torch.dtype) -> None:
    matrix = world(30, 25, 0.3)[1:]
    vectors = torch.randn(25, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    download = ItemFactors.of(vectors, 0.2, 0.1)
    leading = torch.randn(25, 3, generator=torch.Generator().manual_seed(2)).to(dtype)
    summed = torch.arange(25) % 4 > 0
    batched = choice_step(download, leading, summed, choices(matrix))
    users = dense_vectors(matrix, vectors.double(), 0.2, 0.1)
    pulled = torch.zeros(25, 5).double()
    moments, curvature = torch.zeros(6, 6).double(), torch.zeros(5, 5).double()
    projected = torch.zeros(25, 3).double()
    for row, user in zip(matrix, users, strict=True):
        for item in row.nonzero().flatten():
            error = 1 - user @ vectors[item].double()
            pulled[item] += error * user
        one = torch.cat([torch.ones(1).double(), user])
        moments += torch.outer(one, one)
        curvature += row.sum() * torch.outer(user, user)
        unit = row / row.norm()
        projected += torch.outer(unit, unit @ leading.double())
    expected = pulled * summed[:, None], moments, curvature, projected * summed[:, None]
    for got, want in zip(batched.tensors, expected, strict=True):
        assert (got.double() - want).abs().max() < EXACT[dtype] * want.abs().max().clamp_min(1)


def test_masked_sums_are_the_open_ones() -> None:
    matrix = world(9, 12, 0.4)[1:]
    config = ChoiceConfig(size=4, l2=0.05)
    servers = [
        ChoiceServer(config, torch.full((12, 4), 0.3) + torch.eye(12, 4), torch.eye(12, 2))
        for _ in "ab"
    ]
    for server in servers:
        server.popularity.copy_(matrix.sum(0))
    summed = servers[0].broadcast()["summed"]
    assert 0 < summed.sum() < 12
    opened = choice_step(servers[0].download(), servers[0].leading, summed, choices(matrix))
    servers[0].collect(opened)
    devices = [
        ChoiceDevice(OwnChoices(row.nonzero().flatten(), config.unobserved, config.l2))
        for row in matrix
    ]
    done = secure_round(servers[1], in_process(servers[1], devices), len(devices))
    assert done.stats.n_ratings == int(matrix.sum())
    assert done.stats.squared_error == pytest.approx(opened.loss, abs=1e-3)
    for server in servers:
        server.step()
    for masked, open_sum in zip(*(server.state().values() for server in servers), strict=True):
        torch.testing.assert_close(masked, open_sum, atol=1e-3, rtol=0)


def test_a_user_of_many_choices_counts_in_full_under_masks() -> None:
    config = ChoiceConfig(size=2)
    own = OwnChoices(torch.arange(0, 3000, 2), config.unobserved, config.l2)
    server = ChoiceServer(config, torch.full((3000, 2), 0.5), torch.eye(3000, 2))
    server.popularity.fill_(3)
    message = server.broadcast()
    factors, chosen = own.received(message)
    opened = choice_step(factors, message["leading"], message["summed"], chosen)
    assert opened.curvature.max() > 1000  # above what a device may add
    shared, _ = ChoiceDevice(own).contribution(message)
    torch.testing.assert_close(shared[0], opened.items)


def test_epochs_end_where_the_whole_loss_is_least() -> None:
    matrix = world(40, 30, 0.25)
    config = ChoiceConfig(size=3, epochs=400, unobserved=0.2, l2=0.01)
    work = ChoicePretraining(config, choices(matrix), torch.float64)
    losses = [stats.loss for stats in work.training.epochs(lambda _: None)]
    assert losses[-1] < losses[0]
    model = work.model()
    assert model.n_users == 39  # the first of 40 chose nothing
    users = model.items.fold_in(choices(matrix)).requires_grad_()
    items = model.items.vectors.clone().requires_grad_()
    loss = whole_loss(matrix, users, items, config.unobserved, config.l2)
    slopes = torch.autograd.grad(loss, [users, items])
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-6


def test_batches_do_not_change_an_epoch_and_a_resumed_training_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen, config = choices(world(40, 30, 0.25)), ChoiceConfig(size=3, epochs=4)
    one, other = (ChoicePretraining(config, chosen, torch.float64) for _ in "ab")
    list(one.training.epochs(lambda _: None))
    monkeypatch.setattr(training, "TOGETHER", 7)
    epochs = other.training.epochs(lambda _: None)
    next(epochs), next(epochs)
    resumed = ChoicePretraining(other.config, chosen, torch.float64)
    resumed.training.load({name: t.clone() for name, t in other.training.state().items()})
    list(resumed.training.epochs(lambda _: None))
    assert (resumed.model().items.vectors - one.model().items.vectors).abs().max() < 1e-12


def test_a_row_of_one_user_or_two_is_never_added_up() -> None:
    matrix = world(41, 30, 0.3)[1:]
    matrix[:, :3] = 0
    matrix[[3, 9, 3], [0, 0, 1]] = 1  # the third item nobody chose
    assert matrix[:, 3:].sum(0).min() > 2
    work = ChoicePretraining(ChoiceConfig(size=3, epochs=1, leading=4), choices(matrix))
    list(work.training.epochs(lambda _: None))
    server = work.training.server
    assert server.popularity[:3].tolist() == [2, 1, 0]
    for sums in (server.state()["items"], server.state()["leading_sums"], server.leading):
        assert sums[:3].count_nonzero() == 0
        assert sums[3:].count_nonzero(1).all()


def test_the_leading_directions_are_those_of_the_dense_matrix() -> None:
    matrix = world(60, 30, 0.1) + 2 * torch.outer(torch.arange(60) % 3 == 1, torch.arange(30) < 9)
    matrix = (matrix > 0).double()
    work = ChoicePretraining(ChoiceConfig(size=2, epochs=150, leading=3), choices(matrix))
    list(work.training.epochs(lambda _: None))
    rarity = matrix.sum(0).clamp_min(1) ** -0.25
    unit = matrix / matrix.norm(dim=1, keepdim=True).clamp_min(1e-9) * rarity
    _, values, right = torch.linalg.svd(unit)
    assert values[2] > 1.01 * values[3]
    expected = rarity[:, None] * right[:3].T @ right[:3] * rarity
    leading = work.model().leading.double()
    product = leading @ leading.T
    scale = matrix.sum() / (matrix.sum(0) * rarity.square()).sum()
    assert (product - scale * expected).abs().max() < 1e-4


def trained(matrix: Tensor, size: int = 4) -> tuple[ChoiceDomain, Tensor]:
    """A domain and its users' vectors."""
    work = ChoicePretraining(ChoiceConfig(size=size, epochs=20), choices(matrix), torch.float64)
    list(work.training.epochs(lambda _: None))
    model = work.model()
    return model, model.items.fold_in(choices(matrix))


def test_directions_are_those_of_the_dense_product() -> None:
    model, users = trained(world(50, 30, 0.25))
    turn_user, turn_item = model.directions()
    left, right = users @ turn_user, model.items.vectors @ turn_item
    dense = users @ model.items.vectors.T
    u, values, v = torch.linalg.svd(dense)
    for rank in (1, 2, 4):
        best = u[:, :rank] * values[:rank] @ v[:rank]
        assert (left[:, :rank] @ right[:, :rank].T - best).abs().max() < 1e-10
    torch.testing.assert_close(left.T @ left, right.T @ right, atol=1e-10, rtol=0)


def test_a_target_trains_the_same_vectors_without_leading_directions() -> None:
    """On two threads, with which torch sums no rows of width 0."""
    chosen, threads = choices(world(60, 40, 0.2)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        works = [
            ChoicePretraining(ChoiceConfig(size=3, epochs=3, leading=p), chosen) for p in (0, 4)
        ]
        for work in works:
            list(work.training.epochs(lambda _: None))
    finally:
        torch.set_num_threads(threads)
    without, beside = (work.model() for work in works)
    assert (without.leading.shape, beside.leading.shape) == ((40, 0), (40, 4))
    torch.testing.assert_close(without.items.vectors, beside.items.vectors)


def test_a_domain_without_choices_is_refused() -> None:
    with pytest.raises(ValueError, match="without choices"):
        ChoicePretraining(ChoiceConfig(), choices(torch.zeros(3, 4)))


def test_a_choice_is_a_rating_of_at_least_the_threshold() -> None:
    from metaem_core.data.ratings import Ratings

    ratings = Ratings(
        np.array([0, 0, 1]), np.array([0, 2, 1]), np.array([2, 4, 5], np.float32), 2, 3
    )
    assert Choices.of(ratings).items.tolist() == [0, 2, 1]
    assert Choices.of(ratings, 4).items.tolist() == [2, 1]
    assert Choices.of(ratings, 5).counts.tolist() == [0, 1]
