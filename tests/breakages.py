"""Breaks the code on purpose, one line at a time, and checks that the tests notice.

    python tests/breakages.py [NAME ...]

Works on a copy of the repository; exits with 1 if a breakage goes unnoticed or does not apply.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPIED = ("flows", "tasks", "metaem_core", "data_contracts", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Breakage:
    """One line made wrong, and the tests that must fail for it."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str


EQUALITY = "tests/test_federated.py"
LEAK = "tests/test_leak.py"
PRIVATE = "tests/test_private.py"
RESUME = "tests/test_training.py tests/test_kill.py"
OPTIONS = "tests/test_federated_options.py"
RECOMMENDER = "tests/test_recommender.py"
FAULTS = "tests/test_faults.py"
HIT = "tests/test_caching.py tests/test_artifacts.py"
BREAKAGES = (
    Breakage(
        "equality: ratings put in the wrong slot of the grid",
        "metaem_core/federated/device.py",
        "np.repeat(shift, counts)",
        "np.repeat(np.minimum(shift, 4), counts)",
        EQUALITY,
    ),
    Breakage(
        "equality: shared gradients averaged over devices",
        "metaem_core/federated/protocol.py",
        "torch.stack(part).sum(0)",
        "torch.stack(part).mean(0)",
        EQUALITY,
    ),
    Breakage(
        "equality: meta-network fed the other vector",
        "metaem_core/federated/server.py",
        "embeddings if model.meta_reads_raw else self._vectors",
        "self._vectors if model.meta_reads_raw else embeddings",
        EQUALITY,
    ),
    Breakage(
        "equality: one device's personal tower used for all",
        "metaem_core/federated/device.py",
        "p.index_select(0, grid.owner) for p in towers",
        "p.index_select(0, grid.owner * 0) for p in towers",
        EQUALITY,
    ),
    Breakage(
        "equality: a block's gradient put in place of the sum over blocks",
        "metaem_core/models/mlp.py",
        "self.gradients[2 * layer].addmm_(pull.t(), x)",
        "self.gradients[2 * layer].copy_(pull.t() @ x)",
        EQUALITY,
    ),
    Breakage(
        "equality: the meta-network's gradient does not reach MLP_user",
        "metaem_core/federated/server.py",
        "users.add_(through_meta)",
        "users",
        EQUALITY,
    ),
    Breakage(
        "leak: cold users' target ratings stay in pretraining",
        "tasks/models/data.py",
        "    keep[target.users(split.cold)] = False\n",
        "",
        LEAK,
    ),
    Breakage(
        "leak: the mapping is stopped by the cold users",
        "tasks/stages/mapping.py",
        "known.held_out(known.roles.validation)",
        "known.held_out(known.roles.cold)",
        LEAK,
    ),
    Breakage(
        "leak: the other methods are stopped by the cold users",
        "tasks/stages/baseline.py",
        "known.held_out(known.roles.validation)",
        "known.held_out(known.roles.cold)",
        LEAK,
    ),
    Breakage(
        "leak: the other methods' target is trained on everybody",
        "tasks/stages/factorise.py",
        "training_ratings(store, known, split)",
        "known.ratings",
        LEAK,
    ),
    Breakage(
        "equality: no gradient through the private items of a mapped user",
        "metaem_core/federated/server.py",
        """({"private_items"} if by_task else set())""",
        "set()",
        "tests/test_mapping.py",
    ),
    Breakage(
        "equality: a trainee's source vector under another one's target index",
        "metaem_core/methods/metaem/mapping.py",
        "source_vectors[torch.from_numpy(pair.train_source)]",
        "source_vectors[torch.from_numpy(np.sort(pair.train_source))]",
        "tests/test_mapping.py",
    ),
    Breakage(
        "resume: checkpoint without the optimisers' moments",
        "metaem_core/training/optimizers.py",
        'return {"flat": self.flat, **vars(self.moments)}',
        'return {"flat": self.flat}',
        RESUME,
    ),
    Breakage(
        "resume: the stopping rule forgets the best epoch",
        "metaem_core/federated/training.py",
        "**self.rounds.state(), **self.best.state()}",
        "**self.rounds.state()}",
        RESUME,
    ),
    Breakage(
        "resume: the order of users depends on the process, not the epoch",
        "metaem_core/federated/training.py",
        "np.random.SeedSequence([seed, epoch])",
        "np.random.SeedSequence()",
        RESUME,
    ),
    Breakage(
        "options: devices never see the pseudo-items",
        "metaem_core/methods/metaem/pretraining.py",
        "CohortSimulation(seen, dtype, rounded)",
        "CohortSimulation(kept, dtype, rounded)",
        OPTIONS,
    ),
    Breakage(
        "options: made-up ratings dilute the taste that is learnt",
        "metaem_core/methods/metaem/pretraining.py",
        "dilution = len(seen) / len(kept) if config.centred else 1.0",
        "dilution = 1.0",
        OPTIONS,
    ),
    Breakage(
        "options: cohorts hold no share of each cluster",
        "metaem_core/federated/training.py",
        "drawn = self.draw(",
        "drawn = cohorts(",
        OPTIONS,
    ),
    Breakage(
        "options: fcf is trained in one place",
        "metaem_core/methods/baselines/factorisation.py",
        'FcfSteps if config.base == "fcf" else FactorSteps',
        "FactorSteps",
        OPTIONS,
    ),
    Breakage(
        "secure: a device's own mask is left out",
        "metaem_core/federated/secure/aggregation.py",
        """total = values + keystream(derive(self._own_seed, b"own"), len(values))""",
        "total = values + np.uint32(0)",
        "tests/test_secure_aggregation.py",
    ),
    Breakage(
        "secure: masks do not cancel",
        "metaem_core/federated/secure/aggregation.py",
        "_add_mask(total, seed, self.index < other)",
        "_add_mask(total, seed, True)",
        "tests/test_secure_aggregation.py",
    ),
    Breakage(
        "secure: numbers are rounded towards zero",
        "metaem_core/federated/secure/rounds.py",
        "whole = np.floor(flat / self.unit + draw.random(len(flat), np.float32))",
        "whole = np.trunc(flat / self.unit / 1e4) * 1e4",
        "tests/test_secure_rounds.py",
    ),
    Breakage(
        "secure: a device that heard nothing moves",
        "metaem_core/federated/secure/loop.py",
        "if self.leaves.get(place, 6) > passage",
        "if self.leaves.get(place, 6) > min(passage, 4)",
        "tests/test_secure_rounds.py",
    ),
    Breakage(
        "remote: an answer to another round counts",
        "metaem_core/federated/remote/collection.py",
        "if number != self.number:",
        "if number > self.number:",
        "tests/test_remote.py",
    ),
    Breakage(
        "remote: no gradient is too long",
        "metaem_core/federated/remote/collection.py",
        "if (norm := _norm(upload)) > self._largest:",
        "if (norm := _norm(upload)) < 0:",
        "tests/test_remote.py",
    ),
    Breakage(
        "boundary: private ratings can be pickled",
        "metaem_core/federated/private.py",
        "def __reduce_ex__(",
        "def _unused(",
        "tests/test_boundary.py",
    ),
    Breakage(
        "carried: a device takes the vector of somebody else",
        "tasks/flower/node.py",
        'return int(person[asked["source"]])',
        'return int(person[asked["domain"]])',
        "tests/test_carried.py",
    ),
    Breakage(
        "carried: another training's vectors are taken",
        "tasks/flower/node.py",
        'return self.folder / "profiles" / tag',
        'return self.folder / "profiles" / "any"',
        "tests/test_carried.py",
    ),
    Breakage(
        "carried: a device answers a passage again",
        "tasks/flower/node.py",
        "left = {} if told.passage == 4 else client.secrets.state()",
        "client.secrets._done = min(client.secrets._done, 2)\n"
        "                left = client.secrets.state()",
        "tests/test_carried.py",
    ),
    Breakage(
        "carried: a device takes another size of cohort for the same round",
        "tasks/flower/node.py",
        'if state.pop("bound") != [bound]:',
        'if state.pop("bound") == []:',
        "tests/test_carried.py",
    ),
    Breakage(
        "private: a user's part of a sum over items is not cut",
        "metaem_core/privacy/dp/biases.py",
        "np.maximum(np.sqrt(squares), longest)[users]",
        "np.full_like(squares, longest)[users]",
        PRIVATE,
    ),
    Breakage(
        "private: a user's part of the line is not cut",
        "metaem_core/privacy/dp/bias_transfer.py",
        "np.maximum(lengths, longest)",
        "np.full_like(lengths, longest)",
        PRIVATE,
    ),
    Breakage(
        "private: noise is narrower than its record",
        "metaem_core/privacy/dp/gaussian.py",
        "self.draw.normal(0.0, deviation, total.shape)",
        "self.draw.normal(0.0, deviation / 2, total.shape)",
        PRIVATE,
    ),
    Breakage(
        "private: a release does not count what its share allows",
        "metaem_core/privacy/dp/gaussian.py",
        "planned(name, numbers, clip, self.mu * math.sqrt(share))",
        "planned(name, numbers, clip, self.mu)",
        PRIVATE,
    ),
    Breakage(
        "private: devices leave their noise away",
        "metaem_core/privacy/dp/noisy_sums.py",
        "torch.from_numpy(part + noise)",
        "torch.from_numpy(part + 0 * noise)",
        PRIVATE,
    ),
    Breakage(
        "private: two releases share their noise",
        "metaem_core/privacy/dp/bias_transfer.py",
        "seed.update(array.tobytes())",
        "seed.update(b'')",
        PRIVATE,
    ),
    Breakage(
        "private: devices tell exact totals",
        "metaem_core/privacy/dp/noisy_sums.py",
        "[torch.from_numpy(part + noise)], NOTHING",
        "[torch.from_numpy(part + noise)], Totals(0.0, float(len(self._own)), 0.0)",
        PRIVATE,
    ),
    Breakage(
        "private: sums of too few devices are opened",
        "metaem_core/federated/secure/sums.py",
        "if len(vectors) < least:",
        "if len(vectors) < 0:",
        PRIVATE,
    ),
    Breakage(
        "faults: an artifact is at its address before its manifest is",
        "tasks/store/artifacts.py",
        "        replace_atomically(self.folder / MANIFEST, lambda path: manifest.write(path))\n"
        "        self.move(ref)\n",
        "        self.move(ref)\n"
        "        folder = self.store.folder(ref)\n"
        "        replace_atomically(folder / MANIFEST, lambda path: manifest.write(path))\n",
        FAULTS,
    ),
    Breakage(
        "faults: a half written checkpoint counts",
        "tasks/store/checkpoints.py",
        "replace_atomically(self.path, lambda path: save_file(tensors, path, metadata))",
        "(self.folder.mkdir(parents=True, exist_ok=True), save_file(tensors, self.path, metadata))",
        FAULTS,
    ),
    Breakage(
        "faults: finished work is not noted",
        "tasks/store/stage.py",
        "                _leave(lease, ref)\n",
        "",
        "tests/test_caching.py",
    ),
    Breakage(
        "records: one of other work counts",
        "tasks/store/manifests.py",
        """ or Path(about["storage_key"]).name != path.name""",
        "",
        HIT,
    ),
    Breakage(
        "leases: one of other work counts",
        "tasks/store/manifests.py",
        """if told["key"] != path.name:""",
        """if told["key"] == "":""",
        HIT,
    ),
    Breakage(
        "records: what a file was before it was edited counts",
        "tasks/store/stage.py",
        "_require_unchanged(origin, policy.origin(bound.arguments).key)",
        "pass",
        HIT,
    ),
    Breakage(
        "tracking: a run that was made twice stays",
        "tasks/tracking/mlflow.py",
        "    return _keep_one(client, experiment, what) or str(new)\n",
        "    return str(new)\n",
        "tests/test_tracking.py",
    ),
    Breakage(
        "verify on hit: records are trusted",
        "tasks/store/stage.py",
        "        store.verify(ref)\n    except",
        "        pass\n    except",
        HIT,
    ),
    Breakage(
        "verify on hit: only sizes are compared",
        "tasks/store/artifacts.py",
        "if (digest := sha256_of(path)) != entry.sha256:",
        "if (digest := sha256_of(path)) == '':",
        HIT,
    ),
    Breakage(
        "habits: what all users share is measured in nothing",
        "metaem_core/data/user_profile.py",
        "np.where(spread > 1e-6, spread, np.inf)",
        "np.maximum(spread, 1e-6)",
        RECOMMENDER,
    ),
)


def noticed(breakage: Breakage, folder: Path) -> str:
    """ "noticed", or what went wrong."""
    path = folder / breakage.file
    source = path.read_text()
    if source.count(breakage.right) != 1:
        return f"does not apply: {source.count(breakage.right)} places"
    path.write_text(source.replace(breakage.right, breakage.wrong))
    command = [sys.executable, "-m", "pytest", "-q", "-x", *breakage.tests.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    path.write_text(source)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return f"noticed by {failed[0].split(' ')[1]}" if done.returncode == 1 and failed else "UNSEEN"


def main(names: list[str]) -> int:
    """Run the breakages whose names begin like one of ``names``; all of them without."""
    worst = 0
    with tempfile.TemporaryDirectory() as copy:
        for name in COPIED:
            place = ROOT / name
            (shutil.copytree if place.is_dir() else shutil.copy)(place, Path(copy) / name)
        for breakage in BREAKAGES:
            if not names or breakage.name.startswith(tuple(names)):
                verdict = noticed(breakage, Path(copy))
                worst |= not verdict.startswith("noticed")
                sys.stdout.write(f"{breakage.name}: {verdict}\n")
                sys.stdout.flush()
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
