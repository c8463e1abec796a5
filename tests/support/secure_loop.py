"""Secure rounds in one process, of which some devices leave and what passes is counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from metaem_core.federated.encoding import Traffic
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure.coding import LIMIT
from metaem_core.federated.secure.device import SecureUser
from metaem_core.federated.secure.primitives import Words
from metaem_core.federated.secure.server import SumServer, secure_round
from metaem_core.federated.secure.simulation import in_process


@dataclass
class SecureLoop:
    """A server and its devices, one round a call."""

    server: SumServer
    users: Mapping[int, SecureUser]
    limit: float = LIMIT
    traffic: list[Traffic] = field(default_factory=list)  # by place in the last round's cohort
    vectors: dict[int, Words] = field(default_factory=dict)  # masked, by device, of the last round

    def round(
        self, cohort: list[int], leavers: Mapping[int, int] | None = None, least: int = 0
    ) -> RoundStats:
        """One round of ``cohort``; ``leavers`` fall silent at a phase, 1 to 5."""
        inside = in_process(self.server, [self.users[device] for device in cohort], self.limit)
        silent = {cohort.index(device): phase for device, phase in (leavers or {}).items()}
        self.traffic = [Traffic(0, 0)] * len(cohort)

        def ask(phase: int, messages: Mapping[int, Sequence[bytes]]) -> Mapping[int, bytes]:
            there = {p: sent for p, sent in messages.items() if silent.get(p, 6) > phase}
            answers = inside(phase, there)
            for place, sent in messages.items():
                down, up = self.traffic[place]
                up += len(answers.get(place, b""))
                self.traffic[place] = Traffic(down + sum(map(len, sent)), up)
            return answers

        done = secure_round(self.server, ask, len(cohort), least, self.limit)
        self.vectors = {cohort[place]: words for place, words in done.vectors.items()}
        return done.stats
