"""The sum is exact whoever drops out, and a masked vector says nothing of its own."""

from collections.abc import Iterable, Mapping

import hypothesis.strategies as st
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from numpy.typing import NDArray

from metaem_core.federated.secure.aggregation import (
    OutOfTurn,
    Revealed,
    SecureDevice,
    opened,
    ring,
)
from metaem_core.federated.secure.coding import to_words
from metaem_core.federated.secure.primitives import (
    KEY,
    TooFewDevices,
    Words,
    add_mask,
    agree,
    derive,
    joined_secret,
)

DEVICES, DEGREE, THRESHOLD = 12, 8, 5
GRAPH = ring(DEVICES, DEGREE, seed=3)


class Shared:
    """A cohort whose devices, but for ``unshared``, have shared their secrets."""

    def __init__(self, unshared: frozenset[int] = frozenset()) -> None:
        self.cohort = [SecureDevice(i, THRESHOLD, b"agreed") for i in range(DEVICES)]
        self.keys = {device.index: device.advertise() for device in self.cohort}
        self.sealed = {
            i: self.cohort[i].share(self.keys_near(i)) for i in self.keys if i not in unshared
        }
        self.near = {i: GRAPH[i] & self.sealed.keys() for i in self.sealed}

    def keys_near(self, device: int) -> dict[int, bytes]:
        return {j: self.keys[j] for j in GRAPH[device]}

    def masked(self, device: int, values: Words) -> Words:
        shares = {j: self.sealed[j][device] for j in self.near[device]}
        return self.cohort[device].masked(values, shares)

    def revealed(self, devices: Iterable[int], vectors: Mapping[int, Words]) -> dict[int, Revealed]:
        return {i: self.cohort[i].reveal(vectors.keys() & self.near[i]) for i in devices}

    def restart(self) -> None:
        self.cohort = [SecureDevice.restored(d.index, THRESHOLD, d.state()) for d in self.cohort]

    def opened(self, vectors: Mapping[int, Words], revealed: Mapping[int, Revealed]) -> Words:
        return opened(vectors, self.near, self.keys, revealed, THRESHOLD)


def aggregated(
    values: NDArray[np.uint32],
    unshared: frozenset[int] = frozenset(),
    unsent: frozenset[int] = frozenset(),
    silent: frozenset[int] = frozenset(),
) -> Words:
    """A round in which devices leave before sharing, before sending, before revealing."""
    shared = Shared(unshared)
    vectors = {i: shared.masked(i, values[i]) for i in shared.sealed if i not in unsent}
    return shared.opened(vectors, shared.revealed(vectors.keys() - silent, vectors))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.data())
def test_the_sum_is_exact_whoever_leaves_and_whenever(seed: int, data: st.DataObject) -> None:
    values = np.random.default_rng(seed).integers(0, 2**32, (DEVICES, 9), dtype=np.uint32)
    leavers = data.draw(st.lists(st.integers(0, DEVICES - 1), max_size=3, unique=True))
    stages = [data.draw(st.integers(0, 2)) for _ in leavers]
    unshared, unsent, silent = (
        frozenset(d for d, s in zip(leavers, stages, strict=True) if s == stage)
        for stage in range(3)
    )
    there = [i for i in range(DEVICES) if i not in unshared | unsent]
    total = aggregated(values, unshared, unsent, silent)
    assert np.array_equal(total, values[there].sum(0, dtype=np.uint32))


def test_too_many_leavers_void_the_round() -> None:
    values = np.ones((DEVICES, 3), np.uint32)
    with pytest.raises(TooFewDevices, match="shares of"):
        aggregated(values, silent=frozenset(range(8)))
    with pytest.raises(TooFewDevices, match="holds shares"):
        aggregated(values, unshared=frozenset(range(8)))


def test_a_device_reveals_one_secret_of_a_neighbour_and_only_once() -> None:
    shared = Shared()
    shared.masked(0, np.zeros(2, np.uint32))
    arrived = set(list(GRAPH[0])[:THRESHOLD])
    revealed = shared.cohort[0].reveal(arrived)
    assert revealed.own_seeds.keys() == arrived
    assert revealed.mask_keys.keys() == GRAPH[0] - arrived
    with pytest.raises(OutOfTurn):
        shared.cohort[0].reveal(GRAPH[0])


def test_a_device_guards_itself() -> None:
    """Against a server that asks twice, for a sum of one, or for shares that open by themselves."""
    shared = Shared()
    with pytest.raises(OutOfTurn):
        shared.cohort[0].share(shared.keys_near(0))
    sent = shared.masked(0, np.zeros(2, np.uint32))
    with pytest.raises(OutOfTurn):
        shared.masked(0, np.ones(2, np.uint32))
    with pytest.raises(TooFewDevices, match="sent a vector"):
        shared.cohort[0].reveal(set(list(GRAPH[0])[: THRESHOLD - 1]))
    with pytest.raises(TooFewDevices, match="vectors arrived"):
        shared.opened({0: sent}, {})
    with pytest.raises(ValueError, match="exceed half"):
        SecureDevice(0, DEGREE // 2).share(shared.keys_near(0))


def test_a_round_goes_on_from_what_its_devices_keep() -> None:
    """One of them leaves, so that both kinds of shares are needed."""
    shared, values = Shared(), np.arange(9, dtype=np.uint32)
    shared.restart()
    sent = {i: shared.masked(i, values) for i in range(1, DEVICES)}
    shared.restart()
    revealed = shared.revealed(sent, sent)
    assert np.array_equal(shared.opened(sent, revealed), 11 * values)
    shared.restart()
    with pytest.raises(OutOfTurn):
        shared.revealed(sent, sent)


def test_a_late_vector_stays_masked_after_its_pairwise_masks_are_known() -> None:
    """The server has rebuilt the device's mask key, taking it for gone; then its vector comes."""
    shared, values = Shared(), np.arange(50, dtype=np.uint32)
    sent = {i: shared.masked(i, values) for i in range(DEVICES)}
    late = sent.pop(0)
    revealed = shared.revealed(sent, sent)
    assert np.array_equal(shared.opened(sent, revealed), 11 * values)
    shares = [revealed[j].mask_keys[0] for j in GRAPH[0]]
    private = X25519PrivateKey.from_private_bytes(joined_secret(shares, THRESHOLD, 0))
    assert private.public_key().public_bytes_raw() == shared.keys[0][:KEY]
    for other in GRAPH[0]:
        add_mask(late, agree(private, shared.keys[other], b"mask", 0, other), True)
    small = np.minimum(late, -late.astype(np.int64) % 2**32)
    assert int((small < 2**24).sum()) < 5  # of 50; all of them if nothing else hid the values


def test_primitives_give_the_published_vectors() -> None:
    masked = np.zeros(16, np.uint32)
    add_mask(masked, bytes(32), first=True)  # RFC 8439, A.1, vector 1
    assert masked.astype("<u4").tobytes().hex() == (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    key = derive(b"\x0b" * 22, b"")  # RFC 5869, A.3
    assert key.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"


@given(st.integers(2, 60), st.integers(1, 29))
def test_the_ring_gives_everyone_as_many_neighbours(devices: int, half: int) -> None:
    degree = 2 * half
    if degree >= devices:
        with pytest.raises(ValueError, match="degree"):
            ring(devices, degree, seed=1)
        return
    graph = ring(devices, degree, seed=1)
    assert all(len(near) == degree and i not in near for i, near in enumerate(graph))
    assert all(i in graph[j] for i, near in enumerate(graph) for j in near)


def test_a_number_that_could_overflow_the_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="clip"):
        to_words(np.array([5.0 * 2**20]), devices=1000)
    with pytest.raises(ValueError, match="clip"):
        to_words(np.array([np.nan]), devices=2)
