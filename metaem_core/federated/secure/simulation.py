"""Secure rounds in one process, in which everything that passes is bytes."""

from collections.abc import Mapping, Sequence

from metaem_core.federated.encoding import contract_of
from metaem_core.federated.secure.coding import LIMIT, Coding
from metaem_core.federated.secure.device import SecureClient, SecureUser, degree_of
from metaem_core.federated.secure.server import Ask, SumServer


def in_process(server: SumServer, users: Sequence[SecureUser], limit: float = LIMIT) -> Ask:
    """A cohort of ``users`` for one round, whose numbers have no larger ones than ``limit``."""
    coding, near = Coding(server.shapes, len(users), limit), degree_of(len(users))
    clients = [SecureClient(user, place, coding, near) for place, user in enumerate(users)]
    form = contract_of(server.broadcast())

    def ask(phase: int, messages: Mapping[int, Sequence[bytes]]) -> dict[int, bytes]:
        return {place: clients[place].answer(phase, sent, form) for place, sent in messages.items()}

    return ask
