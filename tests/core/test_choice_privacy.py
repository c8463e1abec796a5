"""What requests and sums tell of choices, in worlds where it is known."""

import pytest
import torch

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice.device import choice_step
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.models.choice import ItemFactors, places_along
from metaem_core.privacy.attacks.audit import Audit
from metaem_core.privacy.attacks.choices import ChoiceAttacks
from tests.core.test_choice import choices, world

USERS = 20
APART = torch.eye(USERS).repeat_interleave(2, 1)  # user i chose the items 2 i and 2 i + 1


def attacks(chosen: Choices) -> ChoiceAttacks:
    return ChoiceAttacks(chosen, chosen.counts.nonzero().flatten(), devices=USERS, seed=1)


def audited(chosen: Choices, config: ChoiceConfig) -> dict[str, Audit]:
    work = ChoicePretraining(config, chosen)
    list(work.training.epochs(lambda _: None))
    seen = attacks(chosen).pretraining(config, work.model())
    return {each.evidence: each for each in seen}


def test_two_sums_give_away_whoever_is_missing_and_one_sum_tells_what_popularity_tells() -> None:
    seen = audited(choices(world(USERS + 1, 30, 0.3)), ChoiceConfig(size=2, epochs=3))
    prior = seen["popularity"].leak
    assert 0.55 < prior.auc < 0.9
    assert seen[f"secure, counts of {USERS}"].leak.auc == prior.auc
    for name in ("rows", "secure, two sums, one without the user"):
        assert (seen[name].leak.auc, seen[name].leak.item_sets) == (1, 1)


def test_a_masked_upload_tells_nothing() -> None:
    seen = audited(choices(world(USERS + 1, 400, 0.1)), ChoiceConfig(size=2))["secure"].leak
    assert abs(seen.auc - 0.5) < 0.05
    assert seen.item_sets == 0


def test_the_overlap_is_one_cohort_of_the_target() -> None:
    """Of 3 users of 20; the popularity of all 20 says nothing here."""
    chosen = choices(APART)
    overlap = ChoiceAttacks(chosen, torch.tensor([2, 5, 9]), devices=10, seed=1)
    summed, prior = overlap.overlap()
    items = 2 * USERS
    assert summed.evidence == "mapping, counts of 3"
    assert summed.leak.auc == pytest.approx(((items - 6) + 0.5 * 4) / (items - 2))
    assert prior.leak.auc == 0.5


def test_a_row_of_one_user_gives_their_source_items_away_and_is_not_added_up() -> None:
    """With as many directions as items, so that a row has one solution."""
    turned = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(4))).Q
    server, alone = attacks(choices(APART)), choices(torch.eye(USERS))
    added = places_along(turned, choices(APART))
    for device, suspicion in enumerate(server.on_rows(turned, added, alone, least=1)):
        assert {*suspicion.topk(2).indices.tolist()} == {2 * device, 2 * device + 1}
    judged, prior = server.rare(turned, alone)
    assert judged.leak.auc == prior.leak.auc == 0.5


def test_a_row_of_four_users_leaves_eight_items_and_others_the_users_two() -> None:
    turned = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(4))).Q
    fours = torch.eye(USERS // 4).repeat_interleave(4, 0)
    judged, _ = attacks(choices(APART)).rare(turned, choices(fours))
    assert judged.leak.auc == pytest.approx((32 + 0.5 * 6) / 38, abs=0.03)


def test_an_open_answer_holds_the_users_vector() -> None:
    chosen = choices(world(USERS + 1, 30, 0.3)[1:])
    draw = torch.Generator().manual_seed(2)
    factors = ItemFactors.of(torch.randn(30, 3, generator=draw), 0.1, 0.05)
    one = torch.tensor([4])
    every = torch.ones(30, dtype=torch.bool)
    answer = choice_step(factors, torch.eye(30, 2), every, chosen.of_users(one))
    torch.testing.assert_close(answer.moments[:1, 1:], factors.fold_in(chosen.of_users(one)))
