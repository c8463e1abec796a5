"""F15: several commands at once on one store, and an owner of work that is killed."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tasks.models.evaluated_cell import artifacts_by_cell
from tasks.store.artifacts import Store
from tests.faults.command import Product, computed
from tests.faults.processes import Ended, run
from tests.faults.stores import broken, contents, held
from tests.faults.suite import Suite
from tests.faults.tally import Injection
from tests.support.waiting import wait_until


def together(suite: Suite) -> Iterator[Injection]:
    """F15: two and eight commands that want the same, and one whose owner is killed."""
    product = suite.product
    for count in (2, 8):
        store = product.empty()
        children = [product.start(store, name=str(number)) for number in range(count)]
        yield agreed(product, store, f"{count} at once", [child.wait() for child in children])
    store = product.empty()
    one = product.start(store, name="one")
    wait_until(lambda: bool(list(store.glob("checkpoints/**/*.safetensors"))), "training")
    other = product.start(store, name="other")
    one.kill()
    yield agreed(product, store, "the owner killed in a training", [one.wait(), other.wait()])


def agreed(
    product: Product, store: Path, fault: str, ends: list[Ended], row: str = "F15"
) -> Injection:
    wrong = [end.failure for end in ends if end.code > 0]
    times = Counter(label for end in ends for label in computed(end.output))
    wrong += [f"locks held: {names}" for names in [held(store)] if names]
    if contents(store) != product.expected or broken(store):
        wrong.append("other artifacts than undisturbed")
    wrong += [logged for logged in [logged_once(product, store)] if logged]
    twice = sum(times.values()) - len(times)
    slowest = max(end.seconds for end in ends)
    return Injection(row, fault, "; ".join(wrong), slowest, duplicates=twice)


def logged_once(product: Product, store: Path) -> str:
    """What is wrong with the runs in MLflow: each result has one, complete, its points once."""

    def work() -> None:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("movie-music")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        shown = Counter((each.data.tags["artifact"], each.info.status) for each in runs)
        wanted = set()
        for ref in (ref for ref in Store(store).refs() if ref.stage == "report"):
            for name in ("summary.parquet", "list_summary.parquet"):
                methods = Store(store).read_frame(ref, name)["method"]
                wanted |= {f"{ref} {method}" for method in methods}
            inputs = Store(store).manifest(ref).provenance.inputs
            scores = (*inputs["evaluations"], *inputs["rankings"])
            cells = artifacts_by_cell(Store(store), scores).values()
            wanted |= {str(ref), *(" ".join(map(str, refs)) for refs in cells)}
        assert shown == Counter((what, "FINISHED") for what in wanted), shown
        for each in runs:
            for metric in each.data.metrics:
                steps = [
                    point.step for point in client.get_metric_history(each.info.run_id, metric)
                ]
                assert len({*steps}) == len(steps), f"{metric} is there twice"

    return run(work, product.folder / "log-mlflow").failure
