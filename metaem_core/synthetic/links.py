"""Who rates what: a random bipartite graph with exact counts, long tails and a k-core."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Floats, Ints
from metaem_core.synthetic.size import DomainSize

CORE = 5  # every user and every item has at least as many ratings
USER_TAIL, ITEM_TAIL = 1.3, 0.3  # standard deviations of log(ratings beyond the core)
CROWD = 0.15  # share of the other side that the most active user or popular item may reach
BALANCING = 30  # rounds, after which genres are wanted about as often as they are offered
SEEKING = 0.5  # correlation of a user's or an item's first taste with the place in the matching
ROUNDS = 500


class Seekers(NamedTuple):
    """What the users of a domain look for."""

    taste: Floats  # (U,)
    interests: Floats  # (U, G) in each genre, as logits


class Sought(NamedTuple):
    """What the items of a domain offer."""

    taste: Floats  # (items,)
    genres: Ints  # (items,)


def link(
    size: DomainSize, seekers: Seekers, sought: Sought, generator: np.random.Generator
) -> tuple[Ints, Ints]:
    """Distinct (user, item) pairs, sorted; ``size.ratings`` of them, in users' genres and taste.

    Users hold as many stubs as they will rate, items as many as they are rated. Both are lined
    up by genre, and within it by taste plus noise, and joined in that order, so degrees are exact
    by construction.
    """
    users = _stubs(size.users, size.items, size.ratings, USER_TAIL, generator)
    items = _stubs(size.items, size.users, size.ratings, ITEM_TAIL, generator)
    offered = sought.genres[items]
    wanted = _genres(users, seekers.interests, offered, generator)
    users = users[_line_up(wanted, seekers.taste[users], generator)]
    items = items[_line_up(offered, sought.taste[items], generator)]
    items = _without_repeats(users, items, size.items, generator)
    pairs = np.sort(users * size.items + items)
    return pairs // size.items, pairs % size.items


def _stubs(n: int, others: int, total: int, tail: float, generator: np.random.Generator) -> Ints:
    """Each of n nodes repeated by its degree: CORE + a log-normal excess, summing to total."""
    cap = int(CROWD * others)
    if not CORE <= total / n <= cap:
        raise ValueError(
            f"{total} ratings give {n} users or items {total / n:.1f} each, outside "
            f"{CORE} to {cap}; change the scale or its growth"
        )
    excess = np.exp(tail * generator.standard_normal(n))
    wanted = total - CORE * n
    low, high = 0.0, float(total)
    for _ in range(100):  # bisect the factor that makes the capped excesses sum to wanted
        middle = (low + high) / 2
        if np.minimum(middle * excess, cap - CORE).sum() < wanted:
            low = middle
        else:
            high = middle
    return np.repeat(np.arange(n), CORE + _rounded(np.minimum(low * excess, cap - CORE), wanted))


def _rounded(parts: NDArray[np.float64], total: int) -> Ints:
    """Whole numbers near ``parts`` with this sum: the largest remainders are rounded up."""
    whole = np.floor(parts).astype(np.int64)
    missing = total - int(whole.sum())
    whole[np.argsort(whole - parts, kind="stable")[:missing]] += 1
    return whole


def _genres(users: Ints, interests: Floats, offered: Ints, generator: np.random.Generator) -> Ints:
    """The genre of each user's stub (R,): by interest, and about as often as it is offered."""
    degrees = np.bincount(users)
    chances = _balanced(np.exp(interests), degrees, np.bincount(offered, None, interests.shape[1]))
    below = np.cumsum(chances / chances.sum(1, keepdims=True), axis=1)
    draws = generator.random(len(users), dtype=np.float32)
    drawn = np.zeros(len(users), dtype=np.int64)
    for genre in range(interests.shape[1] - 1):  # one at a time: no (R, G) copies
        drawn += draws > np.repeat(below[:, genre], degrees)
    return drawn


def _balanced(appeal: Floats, degrees: Ints, offers: Ints) -> Floats:
    """Chances (U, G) whose sums over ratings approach the offers (Sinkhorn's algorithm)."""
    weights = np.ones(len(offers), dtype=np.float32)
    rated, offered = degrees.astype(np.float32), offers.astype(np.float32)
    for _ in range(BALANCING):
        wanted: Floats = (rated / (appeal @ weights)) @ appeal
        weights = offered / wanted
    return appeal * weights


def _line_up(genre: Ints, taste: Floats, generator: np.random.Generator) -> Ints:
    noise = generator.standard_normal(len(taste), dtype=np.float32)
    spread = taste.std() or 1.0  # a world without taste is lined up by noise alone
    place = SEEKING * taste / spread + np.sqrt(1 - SEEKING**2) * noise
    order: Ints = np.lexsort((place, genre))
    return order


def _without_repeats(
    users: Ints, items: Ints, n_items: int, generator: np.random.Generator
) -> Ints:
    """Swap the items of repeated pairs with random other places until no pair repeats."""
    items = items.copy()
    suspects = np.arange(len(users))
    for _ in range(ROUNDS):
        repeats = suspects[_repeated(users[suspects] * n_items + items[suspects])]
        if len(repeats) == 0:
            return items
        partners = np.setdiff1d(generator.integers(0, len(users), 2 * len(repeats) + 8), repeats)
        partners = generator.permutation(partners)[: len(repeats)]
        touched = np.zeros(users.max() + 1, dtype=bool)
        touched[users[repeats]] = True
        touched[users[partners]] = True
        repeats = repeats[: len(partners)]
        items[repeats], items[partners] = items[partners], items[repeats]
        suspects = np.flatnonzero(touched[users])
    raise ValueError(
        f"{len(repeats)} of {len(users)} ratings still repeat a (user, item) pair after "
        f"{ROUNDS} rounds; the world is too dense, change the scale or its growth"
    )


def _repeated(pairs: Ints) -> Ints:
    order: Ints = np.argsort(pairs, kind="stable")
    again: NDArray[np.bool_] = np.diff(pairs[order]) == 0
    return order[1:][again]
