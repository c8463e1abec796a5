"""Drawing panels as PNG and as SVG; matplotlib costs a second, so it is imported when one is drawn.

Ink is a CSS variable in an SVG, so that it follows the reader's dark or light mode.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#24292f", "#d0d7de"  # text and axes; lines behind
WIDTH = 4.4  # inches: readable on a phone
COLUMNS = 3  # of a legend

_STYLE = (
    ":root{--ink:#24292f;--faint:#d0d7de}"
    "@media(prefers-color-scheme:dark){:root{--ink:#d7dde4;--faint:#3d4650}}"
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif!important}"
)


@dataclass(frozen=True)
class Panel:
    """One picture; ``alt`` describes it to readers who cannot see it."""

    title: str
    alt: str
    draw: "Callable[[Axes], None]"
    height: float = 3.2  # inches


def data_uri(panel: Panel) -> str:
    """The panel as an SVG image that needs no file."""
    figure, ((axis,),) = _figure([panel], 1)
    _draw(panel, axis)
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    named = text.getvalue().replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    start = named.index("<svg")
    styled = named[start:].replace('<style type="text/css">', f'<style type="text/css">{_STYLE}', 1)
    return f"data:image/svg+xml;base64,{base64.b64encode(styled.encode()).decode()}"


def write_png(panels: Sequence[Panel], path: Path) -> None:
    """All panels in one picture, in two columns."""
    figure, axes = _figure(panels, min(2, len(panels)))
    cells = [axis for row in axes for axis in row]
    for panel, axis in zip(panels, cells, strict=False):
        above = 6 + 12 * -(-_draw(panel, axis) // COLUMNS)  # points; a legend stands there
        axis.set_title(panel.title, color=INK, fontsize="medium", pad=above)
    for axis in cells[len(panels) :]:
        axis.set_axis_off()
    # without the software version and date the picture's bytes depend on its data alone
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw(panel: Panel, axis: "Axes") -> int:
    """The number of names in the legend."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.tick_params(color=FAINT, labelcolor=INK, labelsize="small")
    panel.draw(axis)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set(color=INK, fontsize="small")
    legend = axis.get_legend()
    names = legend.get_texts() if legend is not None else []
    for text in names:
        text.set_color(INK)
    return len(names)


def _figure(panels: Sequence[Panel], columns: int) -> "tuple[Figure, list[list[Axes]]]":
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # text stays text, and equal pictures get equal bytes
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "metaem"})
    tallest = [
        max(panel.height for panel in panels[start : start + columns])
        for start in range(0, len(panels), columns)
    ]
    figure = Figure(figsize=(WIDTH * columns, sum(tallest)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(tallest), columns, squeeze=False, height_ratios=tallest)
    return figure, [list(row) for row in axes]
