"""What commands share: their options, and how they open settings and store."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.settings import Settings
    from tasks.store.artifacts import Store

Task = Annotated[str | None, typer.Option(help="<source>-<target>, such as movie-music.")]
From = Annotated[
    str | None,
    typer.Option("--source", help="synthetic, amazon-2014, amazon-2018, amazon-2023 or files."),
]
Betas = Annotated[str | None, typer.Option(help="Cold fractions, such as 0.2,0.5,0.8.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds, such as 1,2,3.")]
Tasks = Annotated[str, typer.Option(help="Tasks, such as movie-music,book-music.")]
Methods = Annotated[str | None, typer.Option(help="tgt, cmf, ..., beside metaem; all if not set.")]
Bases = Annotated[str | None, typer.Option(help="Base models: mf, gmf, dnn, fcf.")]
Runner = Annotated[str, typer.Option(help="local processes, or a cluster: dask, ray.")]
Address = Annotated[str | None, typer.Option(help="Of the cluster: tcp://host:8786.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Stages run at once.")]
Profile = Annotated[str | None, typer.Option(help="calibrated, or paper: equations as printed.")]
Backend = Annotated[
    str | None, typer.Option(help="simulation, or flower: the devices of `metaem federation up`.")
]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="Folder of all results.")]
Config = Annotated[Path | None, typer.Option(help="TOML file of settings (metaem.toml).")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting: --set pretrain.epochs=10.")
]
Mirror = Annotated[
    str | None, typer.Option(help="Base URL or folder in place of the source's own.")
]
Offline = Annotated[
    bool | None, typer.Option("--offline", help="Use only what was downloaded before.")
]


def open_settings(parameters: Mapping[str, object]) -> "Settings":
    """Settings from a command's parameters, whichever of the shared options it takes."""
    from flows.settings import Settings, read_settings

    assignments = parameters.get("assignments") or ()
    assert isinstance(assignments, list | tuple), f"--set came as {assignments!r}"
    options = {name: parameters[name] for name in Settings.model_fields if name in parameters}
    return read_settings(options, assignments)


def open_store(store: Path | None, config: Path | None) -> "Store":
    from tasks.store.artifacts import Store
    from tasks.store.format import require_format

    root = store or open_settings({"config": config}).store
    if not root.is_dir():
        raise ValueError(f"no store at {str(root)!r}: run `metaem run` first, or name one: --store")
    require_format(root.resolve())
    return Store(root.resolve())
