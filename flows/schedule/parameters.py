"""The parameters of scheduled flows: Prefect's UI shows them as a form, and its API checks them.

Everything else comes from the environment and from metaem.toml where the run is, as in any
command. Prefect keeps parameters in the clear, so none takes an address with a login.
"""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from flows.settings import BadSettings, Settings, read_settings
from metaem_core.config.factor import Base
from tasks.store.remote import without_login

Domains = Annotated[str, Field(pattern="^[a-z0-9_]+-[a-z0-9_]+$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Assignment = Annotated[str, Field(pattern="^[a-z0-9_.]+=[^@]*$")]
Folder = Annotated[str, Field(pattern="^/")]
Betas = Annotated[tuple[Fraction, ...], Field(min_length=1)]
Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
Tasks = Annotated[tuple[Domains, ...], Field(min_length=1)]
Bases = Annotated[tuple[Base, ...], Field(min_length=1)]


def scheduled_settings(assignments: tuple[str, ...], **options: object) -> Settings:
    """Settings of a run, whose store does not depend on the folder that a worker gives it."""
    try:
        settings = read_settings(options, assignments)
    except BadSettings as error:
        raise BadSettings(without_login(str(error))) from None  # Prefect keeps what is raised
    if not settings.store.is_absolute():
        raise BadSettings(
            f"a scheduled run needs an absolute store, got {str(settings.store)!r}: set "
            "METAEM_STORE where the worker runs, or the parameter store"
        )
    return settings
