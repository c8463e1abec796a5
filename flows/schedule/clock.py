"""Compares this machine's clock with the Prefect server's."""

import time
from email.utils import parsedate_to_datetime

from prefect.client.orchestration import get_client

TOLERANCE = 30.0  # seconds; a run counts as dead after two minutes without a heartbeat


class WrongClock(ValueError):
    """The server counts heartbeats of a slow clock as missing, and the run as Crashed."""


def require_right_clock() -> None:
    """Raise WrongClock if the two are more than 30 s apart."""
    with get_client(sync_client=True) as client:
        date = client.hello().headers.get("date")
    if date is None:  # uvicorn sends it; a proxy may not
        return
    ahead = time.time() - parsedate_to_datetime(date).timestamp()
    if abs(ahead) > TOLERANCE:
        way = "ahead of" if ahead > 0 else "behind"
        raise WrongClock(
            f"this machine's clock is {abs(ahead):.0f} s {way} the Prefect server's: set it right"
        )
