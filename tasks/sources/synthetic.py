"""The embedded default: a planted world written like Amazon's ratings-only files."""

import gzip
import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from metaem_core.data.ratings import Ints
from metaem_core.synthetic.size import DOMAINS, Domain
from metaem_core.synthetic.world import SyntheticConfig, generate
from tasks.sources.amazon import RATINGS_2014
from tasks.sources.base import Generated, Layout

DIGITS = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
ROWS = 1 << 19  # written at once


@dataclass(frozen=True)
class Synthetic:
    """Any domain of the world that ``config`` describes."""

    config: SyntheticConfig = field(default_factory=SyntheticConfig)

    def location(self, domain: str) -> Generated:
        """A file named after the domain and the configuration."""
        known = {str(name): name for name in DOMAINS}
        if domain not in known:
            raise ValueError(f"no synthetic domain {domain!r}: use one of {[*known]}")
        plain = json.dumps(asdict(self.config), sort_keys=True)
        digest = hashlib.sha256(plain.encode()).hexdigest()[:12]
        write = partial(self._write, known[domain])
        return Generated(f"synthetic/{domain}-{digest}.csv.gz", write)

    def _write(self, domain: Domain, path: Path) -> None:
        ratings = generate(self.config, domain)
        frame = pl.DataFrame(
            {
                "user_id": amazon_ids("A", 14, ratings.users),
                "item_id": amazon_ids("B", 10, ratings.items),
                "rating": ratings.values,
                "timestamp": ratings.timestamps,
            }
        )
        write_gzip(frame, path)

    def layout(self, path: Path) -> Layout:
        """Amazon 2014's header-less CSV."""
        return RATINGS_2014


def amazon_ids(prefix: str, length: int, numbers: Ints) -> pl.Series:
    """``prefix`` and the number in base 36, ``length`` characters together."""
    distinct, rows = np.unique(numbers, return_inverse=True)
    text = np.empty((len(distinct), length), dtype=np.uint8)  # (ids, characters)
    text[:, 0] = ord(prefix)
    for place in range(length - 1, 0, -1):
        distinct, digit = np.divmod(distinct, 36)
        text[:, place] = DIGITS[digit]
    assert not distinct.any(), f"{length} characters are too few for the largest number"
    ids = pl.Series(text.view(f"S{length}").ravel().astype(f"U{length}"))
    return ids.gather(rows)


def write_gzip(frame: pl.DataFrame, path: Path) -> None:
    """Write header-less CSV, the same bytes every time."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
        for rows in frame.iter_slices(ROWS):
            packed.write(rows.write_csv(include_header=False, float_precision=1).encode())
