"""What commands share: their options, how they open settings and store, how they fail."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


GOES_ON = "the same command goes on from what is finished"
ADVICE = {  # by what the system says
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EACCES: "allow it, or choose another folder: --store",
    errno.EROFS: "make it writable, or choose another folder: --store",
    errno.EIO: "check the disk",
    errno.ENOMEM: "free some memory, or run fewer stages at once: --set workers=1",
}


@contextmanager
def plain_errors() -> Iterator[None]:
    """One line instead of a traceback: exit code 2 for what the caller can correct, else 1."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        told = isinstance(error, ValueError | OSError | RuntimeError | MemoryError)
        if "METAEM_DEBUG" in os.environ or not (told or _is_servers(error)):
            raise
        typer.echo(f"metaem: {_advised(error)}", err=True)
        for detail in getattr(error, "details", list)():
            typer.echo(f"  {detail}", err=True)
        raise typer.Exit(2 if isinstance(error, ValueError) else 1) from error


def _is_servers(error: Exception) -> bool:
    """Whether Prefect's client raised it; the client's package costs time to import."""
    return any(kind.__module__.partition(".")[0] == "httpx" for kind in type(error).__mro__)


def _advised(error: Exception) -> str:
    """What went wrong, and what to do where machine or server refused."""
    if _is_servers(error):
        return f"Prefect's server does not answer ({type(error).__name__}): {GOES_ON}"
    if isinstance(error, MemoryError):
        error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    if not isinstance(error, OSError) or error.errno not in ADVICE:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}: {ADVICE[error.errno]}; {GOES_ON}"


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
