"""iALS on the joint matrix, an entry of which counts only where its user is in its domain."""

from torch import Tensor

from metaem_core.config.choice import IalsConfig
from metaem_core.data.choices import ChoicePair, Scores
from metaem_core.methods.choice_baselines.factors import Group, alternate
from metaem_core.methods.choice_baselines.joint import Joint
from metaem_core.models.choice import ItemFactors


def ials(pair: ChoicePair, config: IalsConfig) -> Scores:
    """``u . v_j``; u folds in the user's source choices, with the source's items as negatives."""
    joint = Joint.of(pair)
    vectors = alternate(joint.choices, *groups(joint), config)
    first = joint.n_source_items
    source = ItemFactors.of(vectors[:first], config.unobserved, config.l2)

    def scores(users: Tensor) -> Tensor:
        return source.fold_in(pair.source.of_users(users)) @ vectors[first:].T

    return scores


def groups(joint: Joint) -> tuple[list[Group], list[Group]]:
    """Of users, who meet the source's items, those of both domains, or the target's; of items."""
    first, last = joint.n_source_only, joint.n_source_users
    n_users, n_items = joint.choices.n_users, joint.choices.n_items
    source, target = slice(0, joint.n_source_items), slice(joint.n_source_items, n_items)
    by_user = [
        Group(slice(0, first), source),
        Group(slice(first, last), slice(0, n_items)),
        Group(slice(last, n_users), target),
    ]
    return by_user, [Group(source, slice(0, last)), Group(target, slice(first, n_users))]
