"""Cohorts in one process: all devices at once, one after the other, and Eq. 12's targets."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.ratings import Ints, Ratings
from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.messages import Download, Upload
from metaem_core.federated.quantization import through_int8


class DeviceStore:
    """Every device's private ratings, in compressed rows: device i owns start[i]:start[i+1]."""

    def __init__(self, ratings: Ratings, dtype: torch.dtype) -> None:
        counts = np.bincount(ratings.users, minlength=ratings.n_users)
        self.start = np.concatenate([[0], np.cumsum(counts)])
        self.items = ratings.items.astype(np.int32)  # half the memory, and fast enough
        self.values = torch.from_numpy(ratings.values).to(dtype)
        self.n_items = ratings.n_items

    def of_device(self, device: int) -> tuple[Tensor, Tensor]:
        """One device's items and their ratings."""
        own = slice(int(self.start[device]), int(self.start[device + 1]))
        return torch.from_numpy(self.items[own].astype(np.int64)), self.values[own]

    def positions(self, cohort: Tensor) -> tuple[Ints, Ints]:
        """Owner within the cohort and storage position of each of the cohort's ratings."""
        devices = cohort.numpy()
        first = self.start[devices]
        counts = self.start[devices + 1] - first
        owner = np.repeat(np.arange(len(devices)), counts)
        shift = first - (np.cumsum(counts) - counts)
        return owner, np.arange(len(owner)) + np.repeat(shift, counts)


class CohortSimulation:
    """All devices of a cohort in one batched :func:`device_step`.

    It asks for just the item rows that the cohort's ratings touch. A real device asks for all of
    them; the gradient of the others is zero, so the result is the same.
    """

    def __init__(self, ratings: Ratings, dtype: torch.dtype, rounded: int | None = None) -> None:
        """``rounded``: a seed, where rows and MLP_item travel as eight-bit numbers."""
        self.devices, self.rounded = DeviceStore(ratings, dtype), rounded
        self._row_of = np.zeros(ratings.n_items, np.int64)
        self._touched = np.zeros(ratings.n_items, np.bool_)  # all False between calls

    def rows(self, cohort: Tensor) -> Tensor:
        _, positions = self.devices.positions(cohort)
        self._touched[self.devices.items.take(positions)] = True
        rows = self._touched.nonzero()[0]
        self._touched[rows] = False
        return torch.from_numpy(rows)

    def gather(self, download: Download, cohort: Tensor, rows: Tensor) -> Upload:
        owner, positions = self.devices.positions(cohort)
        self._row_of[rows.numpy()] = np.arange(len(rows))
        ratings = PrivateRatings(
            torch.from_numpy(owner),
            torch.from_numpy(self._row_of.take(self.devices.items.take(positions))),
            self.devices.values.index_select(0, torch.from_numpy(positions)),
        )
        if self.rounded is None:
            return device_step(download, ratings)
        # by what the round is, not by those before it: a resumed run draws the same
        seed = np.random.SeedSequence([self.rounded, len(rows), *cohort[:8].tolist()])
        draw = torch.Generator().manual_seed(int(seed.generate_state(1)[0]))
        rounding = partial(through_int8, draw=draw)
        tower = tuple(rounding(parameter) for parameter in download.item_tower)
        return device_step(download.replaced({"item_tower": tower}), ratings, rounding)

    def state(self) -> dict[str, Tensor]:
        return {}


class DistanceTarget:
    """Eq. 12 as meant: each device pulls its vector towards MLP_user(u) of the target domain."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors  # (m, k_u), a row a device

    def rows(self, cohort: Tensor) -> Tensor:
        return torch.zeros(0, dtype=torch.long)

    def gather(self, download: Download, cohort: Tensor, rows: Tensor) -> Upload:
        difference = download.user_vectors.detach() - self.vectors.index_select(0, cohort)
        loss = float(difference.square().sum())
        return Upload({"user_vectors": (2 * difference,)}, loss, len(cohort))

    def state(self) -> dict[str, Tensor]:
        return {}
