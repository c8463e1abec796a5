"""F20, F28-F30: odd inputs, hostile names, limits and other circumstances."""

import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from tasks.store.artifacts import Store
from tests.faults.command import Product, arguments, metaem
from tests.faults.processes import Ended, run
from tests.faults.stores import contents
from tests.faults.suite import Suite, refusal
from tests.faults.tally import Injection

MEGABYTE = 1 << 20


def ratings(users: list[str], items: int = 12, same: bool = False) -> bytes:
    """Everyone rates everything."""
    rows = [
        f"{user},i{item},{4 if same else (len(user) * 7 + number * item) % 5 + 1}"
        for number, user in enumerate(users)
        for item in range(items)
    ]
    return "\n".join(["user_id,item_id,rating", *rows, ""]).encode()


def odd_inputs(suite: Suite) -> Iterator[Injection]:
    """F20: a user's own files that are unusual and have to give finite scores."""
    product, path = suite.product, suite.product.folder / "own.csv"
    users = [f"u{number}" for number in range(60)]
    strange = ["=cmd()", "naïve", "💿", "a b", "9" * 400, "-0", "NaN", "1e9", "null", "../../x"]
    greedy = "".join(f"greedy,i{n},{n % 5 + 1}\n" for n in range(50_000))
    contents = {
        "ids of every kind": ratings([*strange, *users]),
        "a single item": ratings(users, items=1),
        "a user with one rating": ratings(users) + b"once,i1,3\n",
        "a user with 50,000 ratings": ratings(users) + greedy.encode(),
        "all ratings equal": ratings(users, same=True),
    }
    files = [f"--set=files.files.{domain}={path}" for domain in ("movie", "music")]
    for fault, content in contents.items():
        path.write_bytes(content)
        ended = product.run(product.empty(), "--source", "files", *files, "--set=k=1")
        yield passed("F20", fault, ended, finite(product))


def passed(row: str, fault: str, ended: Ended, more: str = "") -> Injection:
    """It has to go through."""
    return Injection(row, fault, ended.failure or more)


def finite(product: Product) -> str:
    """What is wrong with the numbers of the last run's evaluation."""
    store = product.folder / "disturbed"

    def work() -> None:
        opened = Store(store)
        refs = [ref for ref in opened.refs() if ref.stage == "evaluate"]
        assert refs, "nothing was evaluated"
        for ref in refs:
            for method, metric, value in opened.read_frame(ref, "scores.parquet").iter_rows():
                assert math.isfinite(value), f"{metric} of {method} is {value}"

    return run(work, product.folder / "log-finite").failure


def hostile_names(suite: Suite) -> Iterator[Injection]:
    """F28: names that lead elsewhere, or are too long, or end early."""
    product = suite.product
    for name in ("../../x", "x" * 4096, "a\0b", "movie-../../x", "a/b-c", "💿", "$(id)", "a\nb"):
        for option in ("--task", "--config", "--mirror", "--source", "--seeds", "--set"):
            place = product.empty_folder()

            def work(words: tuple[str, str] = (option, name), place: Path = place) -> None:
                os.chdir(place)
                metaem([*arguments(Path("s")), "--source", "amazon-2014", "--offline", *words])

            before = {*product.folder.parent.iterdir(), *product.folder.iterdir()}
            ended = run(work, product.folder / "log")
            wrong = refusal(ended) or ("" if ended.code else "it was accepted")
            strays = {*product.folder.parent.iterdir(), *product.folder.iterdir()} - before
            strays |= {path for path in place.iterdir() if path.name != "s"}
            wrong = f"it wrote {strays}" if strays else wrong
            yield Injection("F28", f"{option} {name[:12]!r}", wrong)


def little_memory(suite: Suite) -> Iterator[Injection]:
    """F29: less memory than it takes."""
    product = suite.product
    for _ in suite.some(5):
        room = int(suite.draw.uniform(20, 400)) * MEGABYTE
        store = product.empty()
        first = product.run(store, before=lambda more=room: no_more_than(more))
        wrong = "" if first.code < 0 else refusal(first)
        fault = f"{room // MEGABYTE} MB more than at the start, ended with {first.code}"
        yield product.mend("F29", fault, store, first, wrong, whole=True)


def no_more_than(room: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def other_circumstances(suite: Suite) -> Iterator[Injection]:
    """F30: another hash seed and folder give the same bytes, more threads the same scores."""
    product = suite.product
    store = product.empty()
    changed = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = product.interpreter(store, product.empty_folder(), **changed).wait()
    other = "" if contents(store) == product.expected else "other bytes"
    yield passed("F30", "another interpreter, hash seed, folder and time zone", done, other)
    ended = product.run(product.empty(), before=more_threads)
    yield passed("F30", "two threads a stage", ended, unlike(product, 1e-3))


def more_threads() -> None:
    import torch

    torch.set_num_threads(2)
    assert torch.get_num_threads() == 2


def unlike(product: Product, tolerance: float) -> str:
    """What differs from the undisturbed run's errors by more than the tolerance."""

    def work() -> None:
        scores = []
        for root in (product.base, product.folder / "disturbed"):
            store = Store(root)
            (ref,) = (ref for ref in store.refs() if ref.stage == "evaluate")
            frame = store.read_frame(ref, "scores.parquet")
            rows = {(method, metric): value for method, metric, value in frame.iter_rows()}
            scores.append({key: value for key, value in rows.items() if key[1] in ("mae", "rmse")})
        one, other = scores
        assert one.keys() == other.keys()
        apart = max(abs(one[key] - other[key]) for key in one)
        assert apart < tolerance, f"errors differ by {apart}"

    return run(work, product.folder / "log-unlike").failure
