"""The report as one self-contained HTML page and as Markdown.

Fixed words are in ``templates/``, captions in ``tables.py`` and ``list_tables.py``, and the
verdict's sentences, which follow from the numbers, in ``findings.py``.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tasks.models.evaluated_cell import EvaluatedCell
from tasks.report import panels, tables
from tasks.report.comparison import Tally
from tasks.report.figures import data_uri
from tasks.report.findings import findings, in_sentence, metaem_tallies
from tasks.report.list_tables import both_halves, tables_of_lists
from tasks.report.lists import named
from tasks.report.panels import titled
from tasks.report.results import Results
from tasks.store.artifacts import ArtifactRef


def write_page(results: Results) -> str:
    """The whole report as HTML."""
    template = _environment().get_template("page.html")
    return template.render(
        results=results,
        findings=findings(results),
        tiles=[*_tiles(results)],
        base_panels=[each for p in results.profiles for each in panels.base_panels(results, p)],
        tables=tables,
        both_halves=both_halves,
        tables_of_lists=tables_of_lists,
        panels=panels,
        version=version("metaem"),
    )


def write_report(results: Results) -> str:
    """The findings and a table for each task and cold fraction, as Markdown."""
    template = _environment().get_template("report.md")
    return template.render(
        results=results, findings=findings(results), tables_of_lists=tables_of_lists
    )


def _tiles(results: Results) -> Iterator[tuple[Tally, str, tuple[str, str]]]:
    """In how many cells MetaEM is better: a count, at what, and the words for both directions."""
    for method, count in metaem_tallies(results):
        yield count, f"a lower RMSE than {in_sentence(method)}", ("lower", "higher")
    for name, count in results.lists.tallies.items():
        ndcg = named(results.lists.measures[0])
        yield count, f"a higher {ndcg} than {name}", ("higher", "lower")


def write_note(cell: EvaluatedCell, scores: pl.DataFrame, inputs: Mapping[str, ArtifactRef]) -> str:
    """One cell's scores and inputs, as Markdown."""
    wide = scores.pivot(on="metric", index="method", values="value", maintain_order=True)
    template = _environment().get_template("experiment.md")
    return template.render(**cell, scores=wide, inputs=inputs)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks.report"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= {"data_uri": data_uri, "titled": titled}
    return environment
