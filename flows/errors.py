"""How commands fail: one line that says what went wrong and what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

GOES_ON = "the same command goes on from what is finished"
ADVICE = {  # by the system's error number
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
        expected = isinstance(error, ValueError | OSError | RuntimeError | MemoryError)
        if "METAEM_DEBUG" in os.environ or not (expected or _is_from_client(error)):
            raise
        typer.echo(f"metaem: {_advised(error)}", err=True)
        for detail in getattr(error, "details", list)():
            typer.echo(f"  {detail}", err=True)
        raise typer.Exit(2 if isinstance(error, ValueError) else 1) from error


def _is_from_client(error: Exception) -> bool:
    """Whether Prefect's HTTP client raised it, which costs time to import."""
    return any(kind.__module__.partition(".")[0] == "httpx" for kind in type(error).__mro__)


def _advised(error: Exception) -> str:
    """What went wrong, and what to do if the machine or the server is at fault."""
    if _is_from_client(error):
        return f"Prefect's server does not answer ({type(error).__name__}): {GOES_ON}"
    if isinstance(error, MemoryError):
        error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    if not isinstance(error, OSError) or error.errno not in ADVICE:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}: {ADVICE[error.errno]}; {GOES_ON}"
