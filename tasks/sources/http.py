"""One file from one URL, resumed where the last attempt stopped."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import TypeAdapter

from tasks.progress import advance

REDIRECTS = 5
AGAIN = {408, 429}  # and every 5xx


class DownloadError(RuntimeError):
    """A file could not be had."""


class _TryAgain(Exception):
    """This attempt failed in a way that another may not."""


@dataclass(frozen=True)
class DownloadLimits:
    """What a download may take."""

    size: int = 16 << 30  # bytes as transferred
    timeout: float = 60.0  # seconds without a byte
    attempts: int = 5  # per URL
    pause: float = 1.0  # seconds before the second attempt, doubled for each later one


@dataclass(frozen=True)
class _Begun:
    """Noted beside an unfinished file: where it came from, and what the server called it."""

    url: str
    validator: str | None


_BEGUN = TypeAdapter(_Begun)


def transfer(url: str, part: Path, limits: DownloadLimits) -> None:
    """Complete ``part`` from ``url``."""
    with httpx.Client(timeout=limits.timeout, headers={"Accept-Encoding": "identity"}) as client:
        for attempt in range(1, limits.attempts + 1):
            try:
                return _attempt(client, url, part, limits)
            except (_TryAgain, httpx.TransportError) as error:
                if attempt == limits.attempts:
                    raise DownloadError(
                        f"{url}: gave up after {attempt} attempts: {error or type(error).__name__}"
                    ) from error
            time.sleep(limits.pause * 2 ** (attempt - 1))


def discard(part: Path) -> None:
    """Forget an unfinished download."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _attempt(client: httpx.Client, url: str, part: Path, limits: DownloadLimits) -> None:
    validator = _validator(part, url)
    resumed = part.stat().st_size if validator and part.exists() else 0
    resume = {"Range": f"bytes={resumed}-", "If-Range": validator} if validator and resumed else {}
    with _open(client, url, resume) as response:
        start, total = _extent(response, url, part, resumed, validator or "")
        if total is not None:
            _check_size(url, total, limits)
        if not start:
            _remember(part, url, response)
        with part.open("ab") as file:
            done = start
            advance(done, total, unit="byte")
            for chunk in response.iter_raw():
                done += len(chunk)
                _check_size(url, done, limits)
                file.write(chunk)
                advance(done, total, unit="byte")
    if total is not None and done != total:
        raise _TryAgain(f"{done} of {total} bytes came")


@contextmanager
def _open(client: httpx.Client, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """GET ``url``, following redirects by hand: httpx does not say where they lead."""
    for _ in range(REDIRECTS + 1):
        with client.stream("GET", url, headers=headers) as response:
            if not response.has_redirect_location:
                yield response
                return
            url = _redirected(url, response.headers["Location"])
    raise DownloadError(f"{url}: redirected more than {REDIRECTS} times")


def _redirected(url: str, to: str) -> str:
    target, scheme = httpx.URL(url).join(to), httpx.URL(url).scheme
    if target.scheme not in (scheme, "https"):
        raise DownloadError(f"{url}: redirected to {str(target)!r}, away from {scheme}: refused")
    return str(target)


def _extent(
    response: httpx.Response, url: str, part: Path, resumed: int, validator: str
) -> tuple[int, int | None]:
    """From which byte the body goes on, and the whole file's size if the server says it."""
    status = response.status_code
    if status == 416:
        discard(part)
        raise _TryAgain("the server's file is shorter than what came before")
    if status in AGAIN or status >= 500:
        raise _TryAgain(f"the server answered {status}")
    if status not in (200, 206):
        raise DownloadError(f"{url}: the server answered {status}: check the address")
    if status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        other = response.headers.get("ETag", validator) != validator and validator[:1] == '"'
        if span is None or int(span[1]) != resumed or other:
            discard(part)
            raise _TryAgain(f"the server no longer has the file whose first {resumed} bytes came")
        return resumed, int(span[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _check_size(url: str, size: int, limits: DownloadLimits) -> None:
    if size > limits.size:
        raise DownloadError(f"{url}: {size} bytes or more, over the limit of {limits.size}")


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remember(part: Path, url: str, response: httpx.Response) -> None:
    etag = response.headers.get("ETag", "")
    # RFC 9110 13.1.5: a weak tag cannot vouch for a range
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    part.unlink(missing_ok=True)
    _note(part).write_bytes(_BEGUN.dump_json(_Begun(url, validator)))


def _validator(part: Path, url: str) -> str | None:
    """What the unfinished file was when it was begun from this very ``url``."""
    try:
        begun = _BEGUN.validate_json(_note(part).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return begun.validator if begun.url == url else None
