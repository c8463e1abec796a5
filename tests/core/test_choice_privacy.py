"""What requests and sums tell of choices, in worlds where it is known."""

import pytest
import torch

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice.device import choice_step
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.models.choice import ItemFactors
from metaem_core.privacy.attacks.audit import Audit
from metaem_core.privacy.attacks.choices import ChoiceAttacks
from tests.core.test_choice import choices, world

USERS = 20
APART = torch.eye(USERS).repeat_interleave(2, 1)  # user i chose the items 2 i and 2 i + 1


def attacks(chosen: Choices) -> ChoiceAttacks:
    return ChoiceAttacks(chosen, chosen.counts.nonzero().flatten(), devices=USERS, seed=1)


def audited(chosen: Choices, config: ChoiceConfig) -> dict[str, Audit]:
    domain = ChoicePretraining(config, chosen).model()
    return {each.evidence: each for each in attacks(chosen).pretraining(config, domain)}


def test_a_sum_over_two_leaves_four_items_and_others_the_users_two() -> None:
    """All items are equally popular, so every other cohort of two has other items beside."""
    seen = audited(choices(APART), ChoiceConfig(size=2, epochs=19, cohort_size=2))
    items = 2 * USERS
    expected = {
        "rows": 1.0,
        "secure, one sum of 2": ((items - 4) + 0.5 * 2) / (items - 2),
        "secure, 20 sums of 2": 1.0,
        "secure, rows of one sum of 2": 1.0,  # as many leading directions as items
        "popularity": 0.5,
    }
    assert {name: seen[name].leak.auc for name in expected} == pytest.approx(expected)
    assert seen["rows"].leak.item_sets == seen["secure, 20 sums of 2"].leak.item_sets == 1


def test_a_sum_over_all_tells_what_popularity_tells() -> None:
    chosen = choices(world(USERS + 1, 30, 0.3))
    seen = audited(chosen, ChoiceConfig(size=2, epochs=3, cohort_size=1000))
    prior = seen["popularity"].leak
    assert prior.auc > 0.55
    for sums in ("one sum", "4 sums"):
        assert seen[f"secure, {sums} of {USERS}"].leak.auc == pytest.approx(prior.auc, abs=0.01)


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
    assert summed.evidence == "mapping, one sum of 3"
    assert summed.leak.auc == pytest.approx(((items - 6) + 0.5 * 4) / (items - 2))
    assert prior.leak.auc == 0.5


def test_a_row_of_one_user_gives_their_source_items_away_and_is_not_added_up() -> None:
    """With as many directions as items, so that a row has one solution."""
    turned = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(4))).Q
    server, alone = attacks(choices(APART)), choices(torch.eye(USERS))
    for device, suspicion in enumerate(server.on_rows(turned, alone, least=1)):
        assert {*suspicion.topk(2).indices.tolist()} == {2 * device, 2 * device + 1}
    judged, prior = server.rare(turned, alone)
    assert judged.leak.auc == prior.leak.auc == 0.5


def test_a_row_of_four_users_leaves_eight_items_and_others_the_users_two() -> None:
    turned = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(4))).Q
    fours = torch.eye(USERS // 4).repeat_interleave(4, 0)
    judged, _ = attacks(choices(APART)).rare(turned, choices(fours))
    assert judged.leak.auc == pytest.approx((32 + 0.5 * 6) / 38, abs=0.03)


def test_an_open_answer_holds_the_users_vector_and_a_sum_the_popularity_of_its_cohort() -> None:
    chosen = choices(world(USERS + 1, 30, 0.3)[1:])
    draw = torch.Generator().manual_seed(2)
    factors = ItemFactors.of(torch.randn(30, 3, generator=draw), 0.1, 0.05)
    one, some = torch.tensor([4]), torch.arange(6)
    answer = choice_step(factors, torch.eye(30, 2), chosen.of_users(one))
    torch.testing.assert_close(answer.moments[:1, 1:], factors.fold_in(chosen.of_users(one)))
    cohort = chosen.of_users(some)
    summed = choice_step(factors, torch.eye(30, 2), cohort)
    assert torch.equal(summed.items[:, -1].long(), cohort.popularity())
