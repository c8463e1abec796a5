"""The batched device step and forward pass against the paper's equations, one device at a time."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from metaem_core.federated import device
from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.device_reference import predicted_ratings, reference_step
from metaem_core.federated.messages import Download, Upload, combine
from metaem_core.models.forward import predict
from metaem_core.models.metaem import DomainModel

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
FIELDS = frozenset({"user_vectors", "private_items", "common_items", "item_tower"})


@dataclass(frozen=True)
class Case:
    """A cohort's download and ratings, as one run of hypothesis draws them."""

    widths: tuple[int, int, int]  # k_u, k_c, k_p
    base: str  # mf, gmf: towers of one layer; dnn: of three
    features: int  # of an item; 0 in an uncentred domain
    relu_last: bool
    personal: bool  # an MLP_item of each device's own
    trained: frozenset[str]
    items: int
    counts: tuple[int, ...]  # ratings of each device
    seed: int

    def drawn(self, dtype: torch.dtype) -> tuple[Download, PrivateRatings]:
        """All numbers are multiples of a half, so that no rounding flips a ReLU."""
        draw = torch.Generator().manual_seed(self.seed)

        def halves(*shape: int) -> Tensor:
            return (2 * torch.randn(*shape, generator=draw)).round().div(2).to(dtype)

        (k_u, k_c, k_p), owners = self.widths, len(self.counts)
        hidden = (7, 5) if self.base == "dnn" else ()

        def tower(*sizes: int, copies: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
            pairs = zip(sizes[1:], sizes[:-1], strict=True)
            layers = ((halves(*copies, a, b), halves(*copies, a)) for a, b in pairs)
            return tuple(part for layer in layers for part in layer)

        model = DomainModel(
            halves(owners, k_u),
            halves(self.items, k_c),
            halves(self.items),
            halves(self.items, self.features),
            halves(owners, self.features),
            tower(k_u, 6, k_c * k_p),
            tower(k_u, *hidden, k_u),
            tower(k_p, *hidden, k_u),
            self.relu_last,
            False,
            (halves(k_u),) if self.base == "gmf" else (),
        )
        vectors = torch.cat([halves(owners, k_u), halves(owners, self.features)], 1)
        download = Download.of(model, vectors, self.trained, torch.arange(self.items))
        if self.personal:
            own = tower(k_p, *hidden, k_u, copies=(owners,))
            download = download.replaced({"item_tower": own})
        owner = torch.repeat_interleave(torch.arange(owners), torch.tensor(self.counts))
        rows = torch.randint(self.items, (len(owner),), generator=draw)
        values = torch.randint(1, 6, (len(owner),), generator=draw).to(dtype)
        return download, PrivateRatings(owner, rows, values)


def cases() -> st.SearchStrategy[Case]:
    width = st.integers(1, 9)
    return st.builds(
        Case,
        st.tuples(width, width, width),
        st.sampled_from(["mf", "gmf", "dnn"]),
        st.sampled_from([0, 3]),
        st.booleans(),
        st.booleans(),
        st.sets(st.sampled_from(sorted(FIELDS))).map(frozenset),
        st.integers(1, 30),
        st.lists(st.sampled_from([0, 1, 2, 7, 8, 9, 40]), min_size=1, max_size=6).map(tuple),
        st.integers(0, 2**31),
    )


LONG = Case((6, 5, 4), "dnn", 3, False, False, FIELDS, 50, (0, 3000, 1), 4)  # beyond one block


def of_device(ratings: PrivateRatings, position: int) -> PrivateRatings:
    mine = ratings.owner == position
    rows = ratings.rows[mine]
    return PrivateRatings(torch.zeros_like(rows), rows, ratings.values[mine])


def expected_upload(download: Download, ratings: PrivateRatings) -> Upload:
    """All gradients, device by device."""
    everything = replace(download, trained=FIELDS)
    devices = range(len(download.user_vectors))
    each = [reference_step(everything.of_device(i), of_device(ratings, i)) for i in devices]
    return combine(each, download.per_device)


@pytest.mark.parametrize("dtype", TOLERANCE)
@settings(max_examples=150)
@given(case=cases(), block=st.sampled_from([1, 7, device.BLOCK]))
@example(case=LONG, block=device.BLOCK)
@example(case=replace(LONG, personal=True), block=device.BLOCK)
def test_a_cohorts_step_is_every_devices_own_step(
    dtype: torch.dtype, case: Case, block: int
) -> None:
    download, ratings = case.drawn(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "BLOCK", block)
        upload = device_step(download, ratings)
    expected = expected_upload(download, ratings)
    assert upload.gradients.keys() == case.trained
    assert upload.n_ratings == expected.n_ratings == sum(case.counts)
    assert upload.squared_error == pytest.approx(expected.squared_error, rel=TOLERANCE[dtype])
    largest = max(float(t.abs().max()) for own in expected.gradients.values() for t in own)
    for name, gradients in upload.gradients.items():
        for ours, theirs in zip(gradients, expected.gradients[name], strict=True):
            most = TOLERANCE[dtype] * largest
            torch.testing.assert_close(ours, theirs, rtol=0, atol=most)


@pytest.mark.parametrize("dtype", TOLERANCE)
@settings(max_examples=100)
@given(case=cases())
def test_a_prediction_is_the_papers(dtype: torch.dtype, case: Case) -> None:
    download, ratings = case.drawn(dtype)
    predicted = predict(download, ratings.owner, ratings.rows)
    for i in range(len(case.counts)):
        theirs = predicted_ratings(download.of_device(i), of_device(ratings, i).rows)
        ours = predicted[ratings.owner == i]
        most = TOLERANCE[dtype] * float(theirs.abs().max()) if len(theirs) else 0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=most)
