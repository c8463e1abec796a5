"""MetaEM's trainings on real devices: jobs for the federation in the store's folder."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaem_core.config.choice import ChoiceConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from tasks.flower.assign import require_partition
from tasks.models.backend import ChoiceMapped, ChoiceMappingProblem, MappingProblem, Side
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.source_digest import code_digest, load

if TYPE_CHECKING:
    from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
    from metaem_core.methods.metaem.mapping import MappingTraining
    from metaem_core.methods.metaem.pretraining import Pretraining
    from metaem_core.models.choice import ItemFactors
    from tasks.flower.job import Job
    from tasks.models.train import Cost


@dataclass(frozen=True)
class Flower:
    """Devices of a federation, which was given the users of two domains."""

    source: str
    target: str
    partition: str  # digest of which users have a device
    pretrained: PretrainConfig  # of both domains

    def identity(self) -> dict[str, object]:
        """Which users train, and the code that runs on their devices."""
        return {"partition": self.partition, "code": code_digest(__name__)}

    def pretrain(
        self, store: Store, work: "Pretraining", domain: ArtifactRef, side: Side
    ) -> "Cost":
        """Algorithm 1; devices of a source keep their user's vector for the target's rounds."""
        import torch

        load(__name__)
        from tasks.flower.request import Configs, Request, vectors_tag
        from tasks.flower.star_job import pretrain_start
        from tasks.flower.submit import cost_of_job, hand_out

        name = self._name(store, domain, side)
        config = Configs(work.config).encoded()
        request = Request(kind="pretrain", domain=name, config=config, source="", tag="")
        job = hand_out(store, "job", request, pretrain_start(*work.start()))
        job.load_into(work.training)
        if side == "source":
            model = work.model()
            with torch.no_grad():
                profiles = model.source_vectors(torch.arange(len(model.user_embeddings)))
            request |= {"kind": "keep", "tag": vectors_tag(profiles)}
            hand_out(store, "vectors", request, {"profiles": profiles})
        return cost_of_job(job, work.config.cohort_size)

    def map_users(
        self, store: Store, problem: MappingProblem, target: ArtifactRef
    ) -> "tuple[MappingTraining, Cost]":
        """Algorithm 2; f_theta's start also comes from sums over the devices of training users."""
        import torch

        load(__name__)
        from metaem_core.methods.metaem.mapping import start_views
        from tasks.flower.request import Configs, Request, vectors_tag
        from tasks.flower.star_job import mapping_start, views_start
        from tasks.flower.submit import cost_of_job, hand_out

        require_partition(store.root, self.target, target)
        data, config, vectors = problem.data, problem.config, problem.vectors
        request = Request(
            kind="start",
            domain=self.target,
            config=Configs(self.pretrained, config).encoded(),
            source=self.source,
            tag=vectors_tag(vectors),
        )
        roles = data.roles.train, data.roles.validation
        train, validation = (torch.from_numpy(data.target.users(ids)) for ids in roles)
        start = None
        if self.pretrained.centred:
            pair = data.pair
            views = start_views(fitted_biases(pair.target), vectors, problem.model, pair)
            start = hand_out(store, "start", request, views_start(*views, train)).start()
        tried = problem.trainings(start)
        request["kind"] = "mapping"
        job = hand_out(store, "job", request, mapping_start(tried[0], train, validation))
        return _best(job, tried), cost_of_job(job, config.cohort_size)

    def pretrain_choices(
        self, store: Store, work: "ChoicePretraining", domain: ArtifactRef, side: Side
    ) -> "Cost":
        """In masked rounds."""
        load(__name__)
        from tasks.flower.choice_job import choice_start
        from tasks.flower.request import Request
        from tasks.flower.submit import cost_of_job, hand_out

        name, config = self._name(store, domain, side), self._encoded(work.config)
        request = Request(kind="choice", domain=name, config=config, source="", tag="")
        job = hand_out(store, "job", request, choice_start(work))
        job.load_into(work.training)
        return cost_of_job(job, len(work.training.users), more=1)

    def map_choices(
        self, store: Store, problem: ChoiceMappingProblem, source: ArtifactRef, target: ArtifactRef
    ) -> ChoiceMapped:
        """The source's devices keep their features; the target's read them there."""
        load(__name__)
        from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer
        from tasks.flower.choice_job import features_start, overlap_start
        from tasks.flower.request import Request, vectors_tag
        from tasks.flower.submit import cost_of_overlap, hand_out

        names = self._name(store, source, "source"), self._name(store, target, "target")
        between = ChoiceTransfer.of(problem.config, problem.source, problem.target)
        pair = problem.pair
        features, thresholds, p = between.features, problem.thresholds, between.features.p
        request = Request(
            kind="features",
            domain=names[0],
            config=self._of_factors(problem.source.items, p, thresholds[0]),
            source="",
            tag=vectors_tag(features.items.vectors @ features.turn, features.leading),
        )
        members = pair.source.counts.nonzero().flatten()
        left = hand_out(store, "features", request, features_start(features, members))
        config = self._of_factors(problem.target.items, p, thresholds[1])
        request |= {"kind": "overlap", "domain": names[1], "config": config, "source": names[0]}
        start = overlap_start(problem.target.items, between.turn, features, pair.in_both()[1])
        job = hand_out(store, "overlap", request, start)
        cost = cost_of_overlap(left, job)
        return ChoiceMapped(between.model(job.sums()), None, cost)

    def _name(self, store: Store, domain: ArtifactRef, side: Side) -> str:
        """Of the domain, whose devices must hold its ratings."""
        name = self.source if side == "source" else self.target
        require_partition(store.root, name, domain)
        return name

    def _encoded(self, choice: ChoiceConfig) -> str:
        from tasks.flower.request import Configs

        return Configs(self.pretrained, choice=choice).encoded()

    def _of_factors(self, items: "ItemFactors", p: int, threshold: float | None) -> str:
        """The settings by which devices solve their vectors; p leading directions of the source."""
        config = ChoiceConfig(
            items.vectors.shape[1],
            unobserved=items.unobserved,
            l2=items.l2,
            leading=p,
            threshold=threshold,
        )
        return self._encoded(config)


def _best(job: "Job", tried: "list[MappingTraining]") -> "MappingTraining":
    """What the job trained with the learning rate that validation users prefer."""
    trainings = [each.training for each in tried]
    job.load_into(*trainings)
    ended = [n for n, epochs in enumerate(job.result["epochs"]) if epochs is not None]
    return tried[min(ended, key=lambda n: trainings[n].best_rmse)]
