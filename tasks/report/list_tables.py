"""The report's tables of lists, and the one that shows stars and lists side by side."""

from collections.abc import Callable, Iterator, Sequence

from tasks.models.method_id import LISTED_BY, MethodId
from tasks.report.comparison import LEVEL
from tasks.report.lists import DIVERSITY, POPULARITY, ListResults, named
from tasks.report.panels import titled
from tasks.report.results import Results
from tasks.report.tables import Cell, Row, Table

RELEVANT = {
    "chosen": "all held-out items",
    "sampled": "each held-out item, among random others that the user did not choose",
    "liked": "held-out items rated above the middle of the scale (4 stars and more of 5)",
}
DIVERSITY_NAMES = ("coverage", "same first item", "popularity", "Gini")


def both_halves(results: Results) -> Table:
    """Errors of predicted stars and quality of lists, means over all cells."""
    lists, metrics = results.lists, results.lists.measures[:2]
    by_name = {each.name: each for each in lists.methods(lists.cells)}
    by_choice = [each for each in by_name.values() if each.is_by_choice]
    halves = [(each, _listing(each, by_name), True) for each in results.comparable]
    taken = {name for _, name, _ in halves}
    halves += [(each, each.name, False) for each in by_choice if each.name not in taken]
    rows = []
    for method, listing, has_stars in halves:
        errors = [results.mean(method.name, m) if has_stars else None for m in ("mae", "rmse")]
        means = [lists.mean(listing, m) if listing in by_name else None for m in metrics]
        rows.append(_row(method, [*map(_number, [*errors, *means])]))
    caption = (
        "Means over all cells. MAE and RMSE are of predicted stars, lower is better. "
        f"{' and '.join(map(named, metrics))} are of lists over the whole catalogue, higher is "
        "better. MetaEM and user kNN order lists by a model of choice, other methods by the stars "
        "that they predict"
    )
    return Table(caption, ["method", "MAE", "RMSE", *map(named, metrics)], rows)


def _listing(method: MethodId, lists: dict[str, MethodId]) -> str:
    """The method whose lists stand beside the stars of this one."""
    by_choice = LISTED_BY.get(method.name, method.name)
    return by_choice if by_choice in lists else method.name


def tables_of_lists(lists: ListResults, task: str) -> Iterator[Table]:
    """How well the catalogue is ordered, how surely, and how much lists differ."""
    for relevant in lists.relevant(task):
        yield ranking(lists, task, relevant)
        if relevant in lists.comparisons["relevant"]:  # some baseline was ranked
            yield differences(lists, task, relevant)
    yield diversity(lists, task)


def ranking(lists: ListResults, task: str, relevant: str) -> Table:
    """How well the catalogue is ordered for cold users; the best of a column is marked."""
    betas, names = lists.betas(task), [*map(named, lists.measures)]
    keys = [(task, beta, relevant, metric) for beta in betas for metric in lists.measures]
    columns = [lists.means.get(key, {}) for key in keys]

    def cells(method: MethodId) -> Iterator[Cell]:
        for column in columns:
            best, own = (
                _number(max(column.values(), default=None)),
                _number(column.get(method.name)),
            )
            yield Cell(own.text, "best" if own == best else "")

    caption = f"{titled(task)}; relevant: {RELEVANT[relevant]}; higher is better"
    return Table(caption, ["method", *(names * len(betas))], _rows(lists, task, cells), betas)


def diversity(lists: ListResults, task: str) -> Table:
    """How much lists differ between users."""
    betas = lists.betas(task)

    def cells(method: MethodId) -> Iterator[Cell]:
        for beta in betas:
            for metric in DIVERSITY:
                yield _number(lists.means[task, beta, "", metric].get(method.name))

    columns = ["method", *(DIVERSITY_NAMES * len(betas))]
    return Table(
        f"{titled(task)}: diversity of the lists", columns, _rows(lists, task, cells), betas
    )


def differences(lists: ListResults, task: str, relevant: str) -> Table:
    """NDCG minus that of popularity and of the strongest baseline, with 95 % intervals."""
    betas = lists.betas(task)
    own = lists.comparisons.filter(task=task, relevant=relevant)
    tested = {(r["beta"], r["reference"], r["method"]): r for r in own.iter_rows(named=True)}
    best = {beta: lists.best.get((task, beta, relevant), POPULARITY) for beta in betas}

    def cells(method: MethodId) -> Iterator[Cell]:
        for beta in betas:
            for reference in (POPULARITY, best[beta]):
                yield _difference(tested.get((beta, reference, method.name)))

    strongest = [f"{lists.label(name)} at {beta:.0%}" for beta, name in best.items()]
    caption = (
        f"{titled(task)}; relevant: {RELEVANT[relevant]}; {named(lists.measures[0])} minus that of "
        f"popularity and of the best baseline ({', '.join(strongest)}), with 95 % intervals"
    )
    columns = ["method", *(("vs popularity", "vs the best") * len(betas))]
    return Table(caption, columns, _rows(lists, task, cells), betas)


def _difference(tested: dict[str, float | None] | None) -> Cell:
    if tested is None:
        return Cell("")
    difference, p = tested["difference"] or 0.0, tested["p_value"]
    sure = p is not None and p < LEVEL
    kind = ("sure" if difference > 0 else "worse") if sure else ""
    notes = [] if p is None else [f"{tested['low']:+.4f} to {tested['high']:+.4f}"]
    return Cell(f"{difference:+.4f}", kind, notes)


def _rows(
    lists: ListResults, task: str, cells: Callable[[MethodId], Iterator[Cell]]
) -> Sequence[Row]:
    """The methods of a task, those by choice first; on plain MF, and none as published."""
    methods = lists.methods([(task, beta) for beta in lists.betas(task)])
    by_choice = [each for each in methods if each.is_by_choice]
    calibrated = [each for each in methods if each.profile in ("", "calibrated")]
    by_stars = [m for m in calibrated if m.base in ("", "mf") and m not in by_choice]
    rows = [Row("By choice"), *(_row(each, [*cells(each)]) for each in by_choice)]
    if by_stars:
        rows.append(Row("By predicted stars"))
    return [*rows, *(Row(f"{each.label}, by stars", [*cells(each)]) for each in by_stars)]


def _row(method: MethodId, cells: Sequence[Cell]) -> Row:
    return Row(method.label, cells, "ours" if method.is_metaem else "")


def _number(value: float | None) -> Cell:
    return Cell("" if value is None else f"{value:.4f}")
