"""Exact alternating least squares of the whole-data loss (see ``metaem_core.models.choice``)."""

from typing import NamedTuple

import torch
from torch import Tensor

from metaem_core.config.choice import IalsConfig
from metaem_core.data.choices import Choices
from metaem_core.models.choice import ItemFactors
from metaem_core.training.seeds import derived_generator


class Group(NamedTuple):
    """Neighbouring rows that meet the same columns; what they meet and did not choose counts."""

    rows: slice
    columns: slice


def half_step(choices: Choices, groups: list[Group], columns: Tensor, config: IalsConfig) -> Tensor:
    """The vector of each row (n_users, k) that minimises the loss, those of the columns fixed."""
    parts = []
    for group in groups:
        met = columns[group.columns]
        fixed = ItemFactors(columns, met.T @ met, config.unobserved, config.l2, len(met))
        rows = torch.arange(group.rows.start, group.rows.stop)
        parts.append(fixed.fold_in(choices.of_users(rows)))
    return torch.cat(parts)


def alternate(
    choices: Choices, by_user: list[Group], by_item: list[Group], config: IalsConfig
) -> Tensor:
    """Item vectors (n_items, k) after all sweeps, each of which solves users, then items."""
    draw = derived_generator(config.seed, choices.n_users, choices.n_items)
    items = torch.randn(choices.n_items, config.size, generator=draw)
    items *= 0.1 / config.size**0.5
    chosen_by = choices.transposed()
    for _ in range(config.epochs):
        users = half_step(choices, by_user, items, config)
        items = half_step(chosen_by, by_item, users, config)
    return items


def domain_factors(choices: Choices, config: IalsConfig) -> ItemFactors:
    """One domain, in which every user who chose anything meets every item."""
    active = choices.of_users((choices.counts > 0).nonzero().flatten())
    users, items = slice(0, active.n_users), slice(0, active.n_items)
    vectors = alternate(active, [Group(users, items)], [Group(items, users)], config)
    return ItemFactors.of(vectors, config.unobserved, config.l2)
