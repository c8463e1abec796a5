"""Runs after a scheduled run failed, and reports it."""

import os

import httpx
from prefect import flow
from prefect.artifacts import create_markdown_artifact

from tasks.store.stage import ArtifactSerializer

ALERT = "METAEM_ALERT_URL"


# with its own serializer Prefect would pickle what a failed flow raised
@flow(name="notice", flow_run_name="notice of {run}", result_serializer=ArtifactSerializer())
def notice(run: str, state: str, message: str = "") -> None:
    """Report that a scheduled run failed or its process died.

    The report is an artifact here, and a POST of ``{"text": ...}`` to METAEM_ALERT_URL if set.

    Args:
        run: The flow run's name.
        state: What became of it.
        message: Prefect's message about it.
    """
    text = f"{run}: {state}\n{message}".strip()
    create_markdown_artifact(f"```\n{text}\n```\n", key="failed-runs", description="The last one")
    if url := os.environ.get(ALERT):
        _post(url, text)


def _post(url: str, text: str) -> None:
    """Prefect keeps what is raised, and the address may be a secret."""
    try:
        answer = httpx.post(url, json={"text": text}, timeout=10)
    except httpx.HTTPError as error:
        raise RuntimeError(f"{ALERT} cannot be reached: {type(error).__name__}") from None
    if answer.is_error:
        raise RuntimeError(f"{ALERT} answers {answer.status_code}")
