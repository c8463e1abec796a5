"""What is private stays: it cannot be serialised, is in no message and in no record."""

import copy
import json
import pickle
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from metaem_core.data.ratings import Ratings
from metaem_core.federated.device import PrivateRatings
from metaem_core.federated.encoding import Contract
from metaem_core.federated.remote.device import StoredRatings
from metaem_core.federated.remote.exchange import Answer
from metaem_core.federated.secure.device import SecureClient
from metaem_core.methods.metaem.pretraining import Pretraining
from tests.conftest import FinishedRun
from tests.core.test_secure_rounds import COHORTS, mild, secured
from tests.tasks import test_remote
from tests.tasks.test_remote import ALL, CONFIG, RATINGS, Ask, Devices, Spoil, job

CANARIES = np.nextafter(np.float32([1, 2, 3, 4]), np.float32(9)) + np.float32(2e-6)


def test_private_data_cannot_be_written_down() -> None:
    some = torch.tensor([1, 2])
    loop = secured(mild())
    for private in (
        PrivateRatings(some, some, some.float()),
        StoredRatings(some, some.float(), some > 1),
        loop.users[COHORTS[0][0]],
    ):
        for write in (pickle.dumps, copy.deepcopy, copy.copy):
            with pytest.raises(TypeError, match="does not leave its device"):
                write(private)
        with pytest.raises(TypeError):
            json.dumps(private)
        assert repr(private) == f"{type(private).__name__}(private)"


class Overheard(Devices):
    """Keeps every message that a link carries."""

    heard: list[bytes]

    def answers(
        self, number: int, messages: Mapping[int, bytes], ask: Ask, spoil: Spoil
    ) -> Iterable[Answer]:
        self.heard += messages.values()
        for answer in super().answers(number, messages, ask, spoil):
            self.heard.append(answer.message)
            yield answer


def spellings(value: float) -> list[bytes]:
    """Every way in which a number might be written."""
    packed = [struct.pack(form, value) for form in ("<f", ">f", "<d", ">d")]
    return [*packed, f"{value:.6f}".encode(), repr(value).encode()]


def with_canaries() -> Ratings:
    draw = np.random.default_rng(0)
    return replace(RATINGS, values=draw.choice(CANARIES, len(RATINGS)).astype(np.float32))


@pytest.mark.parametrize("payload", ["literal", "product"])
def test_no_rating_is_in_a_message(
    payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_remote, "RATINGS", with_canaries())
    monkeypatch.setattr(test_remote, "CONFIG", replace(CONFIG, payload=payload, epochs=1))  # type: ignore[arg-type]
    devices = Overheard(tmp_path, request=test_remote.request_of(test_remote.CONFIG))
    devices.heard = []
    job(tmp_path, test_remote.CONFIG).work(devices, ALL)
    assert len(devices.heard) > 100
    everything = b"".join(devices.heard)
    for canary in CANARIES.tolist():
        assert not any(spelling in everything for spelling in spellings(canary))
    stored = b"".join(path.read_bytes() for path in devices.folder.folder.glob("*.safetensors"))
    assert all(struct.pack("<f", canary) in stored for canary in CANARIES)  # it can be found


def test_no_rating_is_in_a_secure_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the open; what is under masks has every byte equally often."""
    heard: list[bytes] = []
    masked: list[bytes] = []
    method = SecureClient.answer

    def listening(
        client: SecureClient, phase: int, messages: Sequence[bytes], form: Contract
    ) -> bytes:
        answer = method(client, phase, messages, form)
        heard.extend(messages)
        (masked if phase == 3 else heard).append(answer)
        return answer

    monkeypatch.setattr(SecureClient, "answer", listening)
    loop = secured(Pretraining(replace(CONFIG, payload="secure"), with_canaries()))
    loop.round(loop_users := sorted(loop.users)[:12])
    assert len(heard) >= 7 * len(loop_users)
    assert len(masked) == len(loop_users)
    for words in masked:
        often = np.bincount(np.frombuffer(words[-40_000:], np.uint8), minlength=256)
        assert (abs(often / often.mean() - 1) < 0.5).all()
    everything = b"".join(heard)
    for canary in CANARIES.tolist():
        assert not any(spelling in everything for spelling in spellings(canary))


def test_no_user_is_named_in_a_record(finished_run: FinishedRun) -> None:
    """MLflow's tables and files, Prefect's results, and what is said while it runs."""
    root = finished_run.store.root
    users = set()
    for path in root.glob("filter/*/users.parquet"):
        users |= set(pl.read_parquet(path)["user_id"])
    named = [user.encode() for user in users]
    assert len(named) > 500
    texts = [path.read_bytes() for path in root.glob("results/**/*") if path.is_file()]
    database = sqlite3.connect(root / "mlflow.db")
    texts.append("\n".join(database.iterdump()).encode())
    database.close()
    for path in root.glob("mlflow/**/*"):
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
            assert not {"user_id", "item_id", "rating"} & set(frame.columns), path.name
            texts.append(frame.write_csv().encode())
        elif path.is_file():
            texts.append(path.read_bytes())
    texts += [str(news).encode() for news in finished_run.news]
    everything = b"\n".join([*texts, *(inflated(text) for text in texts)])
    assert not any(user in everything for user in named)


def inflated(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error:
        return b""
