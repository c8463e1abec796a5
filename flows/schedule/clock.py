"""This machine's clock beside the Prefect server's."""

import time
from email.utils import parsedate_to_datetime

from prefect.client.orchestration import get_client

APART = 30.0  # seconds; the server takes two minutes without a heartbeat for a death


class WrongClock(ValueError):
    """Heartbeats of a clock that is behind count as missing: a living run would end as Crashed."""


def require_right_clock() -> None:
    """Raise WrongClock where the server's clock is another."""
    with get_client(sync_client=True) as client:
        told = client.hello().headers.get("date")
    if told is None:  # uvicorn tells it; a proxy may not
        return
    ahead = time.time() - parsedate_to_datetime(told).timestamp()
    if abs(ahead) > APART:
        way = "ahead of" if ahead > 0 else "behind"
        raise WrongClock(
            f"this machine's clock is {abs(ahead):.0f} s {way} the Prefect server's: set it right"
        )
