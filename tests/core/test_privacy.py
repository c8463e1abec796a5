"""The attacks read everything from open uploads."""

import re

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from typer.testing import CliRunner

from flows.cli.main import app
from metaem_core.config.pretrain import OpenLayout
from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import RatingScale
from metaem_core.privacy.attacks.membership import Canaries, inferred
from metaem_core.privacy.attacks.reconstruction import (
    Leak,
    Reading,
    auc,
    popularity_prior,
    read_message,
)
from tests.conftest import SMALL, FinishedRun
from tests.core.test_federated import RATINGS, pretraining
from tests.core.test_layouts import codec
from tests.support.worlds import random_ratings

DEVICES = [i for i in range(RATINGS.n_users) if (RATINGS.users == i).any()]


def devices() -> list[tuple[torch.Tensor, torch.Tensor]]:
    own = [RATINGS.users == i for i in DEVICES]
    return [
        (torch.from_numpy(RATINGS.items[rows]), torch.from_numpy(RATINGS.values[rows]))
        for rows in own
    ]


@pytest.mark.parametrize("layout", ["literal", "product", "rows"])
@pytest.mark.parametrize("centred", [True, False])
def test_an_open_upload_reveals_every_rating(layout: OpenLayout, centred: bool) -> None:
    stage = pretraining(torch.float32, init_std=0.5, centred=centred)
    everything, packing = torch.arange(RATINGS.n_items), codec(layout)
    downloads = stage.training.rounds.server.download(torch.tensor(DEVICES), everything)
    truths = devices()
    readings = [
        read_message(downloads.of_device(place), *truth, packing, RatingScale())
        for place, truth in enumerate(truths)
    ]
    leak = Leak.of(readings, truths, RatingScale())
    assert leak.item_sets == 1
    assert leak.ratings > 0.99
    assert leak.auc == 1


def test_what_leaks_by_hand() -> None:
    """Of two devices: one shows an unrated item beside two rated ones, one its only item."""
    first = Reading(
        torch.tensor([3.0, 0, 1, 2, 0, 0]), torch.tensor([0, 2, 3]), torch.tensor([5.2, 4.4, 1])
    )
    second = Reading(torch.tensor([0.0, 4, 0, 0, 0, 0]), torch.tensor([1]), torch.tensor([2.1]))
    truths = [
        (torch.tensor([0, 2]), torch.tensor([5.0, 3])),
        (torch.tensor([1]), torch.tensor([2.0])),
    ]
    assert Leak.of([first, second], truths, RatingScale()) == pytest.approx(
        Leak(item_sets=1 / 2, ratings=2 / 3, auc=15 / 16, auc_among_shown=1 / 2, certain=2 / 3)
    )


def test_popularity_is_a_guess_that_others_are_held_against() -> None:
    ratings = random_ratings(n_users=300, n_items=80, mean_count=9, seed=5)
    counts = np.bincount(ratings.items, minlength=ratings.n_items)
    own = [torch.from_numpy(ratings.items[ratings.users == i]) for i in range(50)]
    truths = [(items, torch.full((len(items),), 5.0)) for items in own if len(items)]
    guesses = [popularity_prior(counts, RatingScale(), len(items)) for items, _ in truths]
    leak = Leak.of(guesses, truths, RatingScale())
    assert 0.4 < leak.auc < 0.9
    assert leak.item_sets < 0.1


@given(st.lists(st.integers(0, 5), min_size=4, max_size=30), st.integers(1, 3))
def test_auc_is_the_chance_of_the_right_order(scores: list[int], count: int) -> None:
    positives = np.arange(count)
    a, b = np.array(scores[:count]), np.array(scores[count:])
    won = (a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()
    assert auc(np.array(scores, float), positives) == pytest.approx(won / (len(a) * len(b)))


@pytest.mark.night
def test_the_audit_holds_every_layout_against_popularity(finished_run: FinishedRun) -> None:
    """Through the command, on a trained domain."""
    options = [part for each in SMALL for part in ("--set", each)]
    command = ["privacy-audit", "--store", str(finished_run.store.root), "--devices", "40"]
    done = CliRunner().invoke(app, [*command, *options], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    lines: dict[str, str] = {}
    for line in done.output.splitlines():  # a narrow terminal folds cells
        if line.startswith("│"):
            evidence, *cells = (cell.strip() for cell in line.strip("│").split("│"))
            name = evidence or [*lines][-1]
            lines[name] = " ".join(filter(None, [lines.get(name), *cells]))
    for layout in ("literal", "product", "rows"):
        assert "items and all ratings" in lines[layout]
        assert "1.000" in lines[layout]
    auc_among_shown = r"all ratings, \d\d% surely; others among virtual ones \(AUC 0\.[5-9]"
    assert re.search(auc_among_shown, lines["rows, 1 more for each"])
    assert "no more than popularity tells" in lines["secure"]
    assert "1.000" not in lines["secure"]
    assert any(line.startswith("secure, one sum of ") for line in lines)
    assert "the guess without an upload" in lines["popularity"]
    for sums in ("secure, counts of ", "secure, two sums", "mapping, counts of "):
        assert any(line.startswith(sums) for line in lines)
    assert re.search(r"name \d+% of synthetic users", " ".join(done.output.split()))


def test_item_biases_tell_who_was_trained_on() -> None:
    """Where few rate an item; a model that never saw a canary does not name it by chance."""
    world = random_ratings(n_users=2000, n_items=2600, mean_count=8, seed=1)
    canaries = Canaries.drawn(400, 14, world.n_items, RatingScale(), seed=1)
    biases = fitted_biases(canaries.among(world))
    trained = inferred(canaries, biases.item + biases.mean)
    assert trained.auc > 0.85
    assert trained.named > 0.15
    biases = fitted_biases(world)
    innocent = inferred(canaries, biases.item + biases.mean)
    assert abs(innocent.auc - 0.5) < 0.1
    assert innocent.named < 0.05


def test_canaries_are_users_of_their_own() -> None:
    canaries = Canaries.drawn(10, 4, RATINGS.n_items, RatingScale(), seed=2)
    among = canaries.among(RATINGS)
    assert among.n_users == RATINGS.n_users + 5
    assert len(among) == len(RATINGS) + 20
    assert np.array_equal(among.users, np.sort(among.users))
    last = among.items[-4:]
    assert np.array_equal(last, canaries.items[8])
    assert set(canaries.values.ravel()) == {1, 5}
