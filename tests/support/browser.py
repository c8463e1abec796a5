"""A real browser for tests: Debian's chromium, headless, without a network."""

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from tests.support.waiting import deadline

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
    "--virtual-time-budget=60000",
)
PROBE = """<script>addEventListener("load", async () => {
  const images = [...document.images];
  await Promise.all(images.map(image => image.decode().catch(() => {})));
  const seen = {
    images: images.map(image => image.naturalWidth),
    unnamed: images.filter(image => !image.alt).length,
    tables: [...document.querySelectorAll("table")].map(table => table.rows.length),
    links: [...document.querySelectorAll("a")].map(a => !!document.querySelector(a.hash)),
    overflow: document.documentElement.scrollWidth - innerWidth,
  };
  const place = document.createElement("pre");
  place.id = "probe";
  place.textContent = JSON.stringify(seen);
  document.body.append(place);
})</script>"""


@dataclass(frozen=True)
class Seen:
    """A page as the browser shows it."""

    images: list[int]  # widths; 0: not decoded
    unnamed: int  # images without alternative text
    tables: list[int]  # rows
    links: list[bool]  # within the page: whether they lead somewhere
    overflow: int  # pixels that the page is wider than the window
    console: list[str]


def find() -> str | None:
    """The browser's path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def look(browser: str, page: str, width: int = 1200) -> Seen:
    """Open a page that runs no script of its own; the probe is let in for the test."""
    policy = "default-src 'none'"
    assert policy in page, "the page has no policy to loosen for the probe"
    probed = page.replace(policy, f"{policy}; script-src 'unsafe-inline'", 1)
    dom, _ = _run(browser, probed.replace("</body>", f"{PROBE}</body>"), width)
    match = re.search(r'<pre id="probe">(.*?)</pre>', dom)
    assert match, "the probe did not run"
    _, console = _run(browser, page, width)  # as it is
    return Seen(**json.loads(unescape(match[1])), console=console)


def _run(browser: str, page: str, width: int) -> tuple[str, list[str]]:
    """The document after loading, and the lines of the console."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page)
        command = [browser, *OPTIONS, f"--user-data-dir={folder}/profile"]
        command += [f"--window-size={width},900", "--dump-dom", path.as_uri()]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=deadline(), check=True
        )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
