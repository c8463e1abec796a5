"""HTML that needs nothing but itself: elements, tables, pictures inside, one page."""

from collections.abc import Iterable, Sequence
from html import escape

from tasks.report.figures import Panel, data_uri
from tasks.report.html_style import STYLE

# nothing is fetched, run or sent, whatever ends up in the page
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Text that is markup already; any other is escaped."""


def tag(name: str, *content: str, **attributes: str) -> Html:
    """``tag("td", "1 < 2", kind="best")``; ``kind`` is the class."""
    if "kind" in attributes:
        attributes["class"] = attributes.pop("kind")
    told = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items() if value)
    return Html(f"<{name}{told}>{join(content)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Side by side."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def row(name: str, *cells: Html, kind: str = "") -> Html:
    """A row of a table's body, named by its first cell."""
    return tag("tr", tag("th", name, scope="row"), *cells, kind=kind)


def heading(name: str, columns: int) -> Html:
    """A row that names those below it."""
    return tag("tr", tag("th", name, colspan=str(columns)))


def table(heads: Iterable[Sequence[Html]], rows: Iterable[Html], caption: str) -> Html:
    """A table that scrolls within itself; ``heads`` are rows of ``th``."""
    told = tag("caption", tag("span", caption))
    head = tag("thead", *(tag("tr", *cells) for cells in heads))
    return tag("div", tag("table", told, head, tag("tbody", *rows)), kind="scroll")


def columns(*names: str) -> list[Html]:
    """The heads of columns."""
    return [tag("th", name, scope="col") for name in names]


def per_beta(betas: Sequence[float], width: int) -> list[Html]:
    """The heads of as many columns for each cold fraction."""
    told = [tag("th", f"{b:.0%} cold", colspan=str(width), scope="colgroup") for b in betas]
    return [tag("th", ""), *told]


def pictures(panels: Iterable[Panel]) -> Html:
    """Panels side by side where there is room."""
    return tag("div", *(_picture(panel) for panel in panels), kind="pictures")


def _picture(panel: Panel) -> Html:
    image = Html(f'<img alt="{escape(panel.alt)}" src="{data_uri(panel)}">')
    return tag("figure", tag("figcaption", panel.title), image)


def section(title: str, *content: str) -> Html:
    """A chapter that the table of contents leads to."""
    return tag("section", tag("h2", title), *content, id=anchor(title))


def details(summary: str, *content: str) -> Html:
    """What is folded away at first."""
    return tag("details", tag("summary", summary), *content)


def anchor(title: str) -> str:
    """The id of a section."""
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def page(title: str, *content: str) -> str:
    """The whole document."""
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            tag("title", title),
            tag("style", Html(STYLE)),
        ]
    )
    body = tag("body", tag("main", *content))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>{body}</html>\n'
