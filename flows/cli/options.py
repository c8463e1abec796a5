"""What commands share: options, how they open settings and store, and how they fail."""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.errors import plain_errors

if TYPE_CHECKING:
    from flows.settings import Settings
    from tasks.store.artifacts import Store

Command = Callable[..., None]


def _text(text: str) -> object:
    return Annotated[str | None, typer.Option(help=text)]


OPTIONS: dict[str, object] = {
    "task": _text("<source>-<target>, such as movie-music."),
    "source": _text("synthetic, amazon-2014, amazon-2018, amazon-2023 or files."),
    "betas": _text("Cold fractions, such as 0.2,0.5,0.8."),
    "seeds": _text("Seeds, such as 1,2,3."),
    "methods": _text("tgt, cmf, ..., beside metaem; all if not set."),
    "bases": _text("Base models: mf, gmf, dnn, fcf."),
    "profile": _text("calibrated, or paper: equations as printed."),
    "backend": _text("simulation, or flower: the devices of `metaem federation up`."),
    "workers": Annotated[int | None, typer.Option(min=1, help="Stages run at once.")],
    "mirror": _text("Base URL or folder in place of the source's own."),
    "offline": Annotated[
        bool | None, typer.Option("--offline", help="Use only what was downloaded before.")
    ],
    "store": Annotated[Path | None, typer.Option(help="Folder of all results.")],
    "config": Annotated[Path | None, typer.Option(help="TOML file of settings (metaem.toml).")],
    "assignments": Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: --set pretrain.epochs=10.")
    ],
}
STORE = ("store", "config")
STAGES = ("source", "mirror", "offline", *STORE, "assignments")  # of every command that runs them


def command(*shared: str) -> Callable[[Command], Command]:
    """A command with these of the ``OPTIONS`` after its own, which fails in plain words.

    Parameters called ``settings`` and ``store`` are opened from the options, ``options`` are all
    values as given, and the name of a shared option stands for its value.
    """

    def decorate(function: Command) -> Command:
        wanted = signature(function).parameters
        own = [each for name, each in wanted.items() if name not in {*OPENED, *shared}]
        common = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in OPTIONS.items()
            if name in shared
        ]

        def run(**options: object) -> None:
            with plain_errors():
                opened = ((name, OPENED.get(name, itemgetter(name))) for name in wanted)
                function(**{name: value(options) for name, value in opened})

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = Signature([*own, *common])  # type: ignore[attr-defined]
        return run

    return decorate


def open_settings(options: Mapping[str, object]) -> "Settings":
    """Settings from a command's options, whichever of the shared ones it takes."""
    from flows.settings import Settings, read_settings

    assignments = options.get("assignments") or ()
    assert isinstance(assignments, list | tuple), f"--set came as {assignments!r}"
    given = {name: options[name] for name in Settings.model_fields if name in options}
    return read_settings(given, assignments)


def open_store(options: Mapping[str, object]) -> "Store":
    """The store that there is, where ``--store`` or the settings have it."""
    from tasks.store.artifacts import Store
    from tasks.store.format import require_format

    root = options["store"] or open_settings({"config": options["config"]}).store
    assert isinstance(root, Path), f"--store came as {root!r}"
    if not root.is_dir():
        raise ValueError(f"no store at {str(root)!r}: run `metaem run` first, or name one: --store")
    require_format(root.resolve())
    return Store(root.resolve())


OPENED: dict[str, Callable[[Mapping[str, object]], object]] = {
    "settings": open_settings,
    "store": open_store,
    "options": dict,
}
