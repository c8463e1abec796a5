"""Where the devices of MetaEM's two trainings are: simulated here, or behind this interface."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from metaem_core.config.choice import ChoiceMappingConfig
from metaem_core.config.mapping import MappingConfig
from tasks.models.data import SplitPair
from tasks.store.artifacts import ArtifactRef, Store

if TYPE_CHECKING:
    from torch import Tensor

    from metaem_core.data.choices import ChoicePair, Thresholds
    from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
    from metaem_core.methods.metaem.mapping import MappingTraining
    from metaem_core.methods.metaem.pretraining import Pretraining
    from metaem_core.models.choice import ChoiceDomain
    from metaem_core.models.choice_mapping import ChoiceModel
    from metaem_core.models.metaem import DomainModel
    from metaem_core.models.mlp import Parameters
    from tasks.models.train import Cost

Side = Literal["source", "target"]


@dataclass(frozen=True)
class MappingProblem:
    """Two pretrained domains, and the users between whom f_theta is learnt."""

    config: MappingConfig
    vectors: "Tensor"  # DomainModel.source_vectors of every source user (m_s, k_s)
    model: "DomainModel"  # the target
    data: SplitPair

    def trainings(self, start: "Parameters | None" = None) -> "list[MappingTraining]":
        """One for each learning rate, from ``start`` if that is known."""
        from metaem_core.methods.metaem.mapping import MappingTraining

        pair, validation = self.data.pair, self.data.held_out(self.data.roles.validation)
        parts = self.vectors, self.model, pair, validation, start
        return [MappingTraining(self.config, rate, *parts) for rate in self.config.learning_rates]


@dataclass(frozen=True)
class ChoiceMappingProblem:
    """Two domains pretrained on choices, and the users between whom the mapping is fitted."""

    config: ChoiceMappingConfig
    thresholds: "Thresholds"
    source: "ChoiceDomain"
    target: "ChoiceDomain"
    data: SplitPair

    @property
    def pair(self) -> "ChoicePair":
        """What the mapping may learn from."""
        from metaem_core.data.choices import ChoicePair

        return ChoicePair.of(self.data.pair, self.thresholds)


class ChoiceMapped(NamedTuple):
    """A mapping of choices."""

    model: "ChoiceModel"
    validation_ndcg: float | None  # None: nobody validates
    cost: "Cost"


class Backend(Protocol):
    """Runs trainings on devices; the result is in the training, the bytes are returned."""

    def identity(self) -> dict[str, object]:
        """What of it a result depends on."""
        ...

    def pretrain(
        self, store: Store, work: "Pretraining", domain: ArtifactRef, side: Side
    ) -> "Cost":
        """Algorithm 1 to the end, on the ratings of the filtered ``domain``."""
        ...

    def map_users(
        self, store: Store, problem: MappingProblem, target: ArtifactRef
    ) -> "tuple[MappingTraining, Cost]":
        """Algorithm 2 to the end, with the learning rate that validates best."""
        ...

    def pretrain_choices(
        self, store: Store, work: "ChoicePretraining", domain: ArtifactRef, side: Side
    ) -> "Cost":
        """The pretraining of choices to the end, on those of the filtered ``domain``."""
        ...

    def map_choices(
        self, store: Store, problem: ChoiceMappingProblem, source: ArtifactRef, target: ArtifactRef
    ) -> ChoiceMapped:
        """The mapping of choices between two filtered domains."""
        ...


@dataclass(frozen=True)
class Simulation:
    """All devices in this process."""

    def identity(self) -> dict[str, object]:
        """Nothing: the simulation is part of the stage's own source."""
        return {}

    def pretrain(
        self, store: Store, work: "Pretraining", domain: ArtifactRef, side: Side
    ) -> "Cost":
        """Algorithm 1, from the last checkpoint if there is one."""
        from tasks.models.train import cost_of, train

        train(store, work.training)
        return cost_of([work.training], work.traffic())

    def map_users(
        self, store: Store, problem: MappingProblem, target: ArtifactRef
    ) -> "tuple[MappingTraining, Cost]":
        """Algorithm 2, likewise."""
        from tasks.models.train import cost_of, train_best

        tried = problem.trainings()
        trainings = [each.training for each in tried]
        best = tried[train_best(store, trainings, problem.config.learning_rates)]
        return best, cost_of(trainings, *best.traffic())

    def pretrain_choices(
        self, store: Store, work: "ChoicePretraining", domain: ArtifactRef, side: Side
    ) -> "Cost":
        """From the last checkpoint if there is one."""
        from tasks.models.train import cost_of, train

        train(store, work.training)
        epoch, beside = work.traffic()
        return cost_of([work.training], epoch)._replace(beside=beside)

    def map_choices(
        self, store: Store, problem: ChoiceMappingProblem, source: ArtifactRef, target: ArtifactRef
    ) -> ChoiceMapped:
        """With the NDCG of validation users who chose in both domains."""
        from metaem_core.evaluation.lists import RankConfig, rank
        from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer
        from tasks.models.train import cost_of_overlap

        data, pair = problem.data, problem.pair
        between = ChoiceTransfer.of(problem.config, problem.source, problem.target)
        model = between.model(between.sums(pair))
        cost = cost_of_overlap(model.features, problem.target.items, pair)
        users, chosen = data.held_out_choices(data.roles.validation, problem.thresholds[1])
        if len(both := pair.known(users, chosen)) == 0:
            return ChoiceMapped(model, None, cost)
        relevant = {"chosen": chosen.of_users(both)}
        lists = rank(model.scores_of(pair.source), users[both], relevant, RankConfig(""))
        return ChoiceMapped(model, float(lists.measures["chosen"]["ndcg"].mean()), cost)
