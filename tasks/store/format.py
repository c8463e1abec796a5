"""The format of a store, marked in it so that an older version does not touch a newer store."""

from contextlib import suppress
from pathlib import Path

from tasks.store.atomic import replace_atomically

FORMAT = 1  # of folders, manifests, and records; schemas of tables are part of each key
FILE = "format"


def require_format(root: Path) -> None:
    """Mark a new store, or make sure that this version reads an old one.

    Raises:
        ValueError: another version wrote it, or the mark is no number.
    """
    path = root / FILE
    if not path.is_file():  # new, or older than the mark
        with suppress(OSError):  # a read-only store can be read; writing reports it
            root.mkdir(parents=True, exist_ok=True)
            replace_atomically(path, lambda new: new.write_text(f"{FORMAT}\n"))
    elif (mark := path.read_text()[:20].strip()) != str(FORMAT):
        raise ValueError(
            f"the store {str(root)!r} has format {mark!r}, this version reads {FORMAT}: use the "
            "version that wrote it, or another folder with --store; nothing was changed"
        )
