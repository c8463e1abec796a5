"""Stage 1 of choice: federated pretraining of one domain on what its users chose."""

from metaem_core.config.choice import ChoiceConfig
from tasks.models.data import read_domain, training_ratings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@stage("choice_pretrain")
def choice_pretrain(
    store: Store, config: ChoiceConfig, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """Train a domain; ``split`` removes the held-out users' choices from a target domain."""
    # torch is imported only by runs that train
    from metaem_core.data.choices import Choices
    from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
    from tasks.models.choice import write_choice_domain
    from tasks.models.train import cost_of, forget, train, write_cost, write_curve

    data = read_domain(store, domain)
    choices = Choices.of(training_ratings(store, data, split), config.threshold)
    work = ChoicePretraining(config, choices)
    train(store, work.training)
    with store.draft() as draft:
        write_choice_domain(draft, work.model(), data.item_ids)
        write_curve(draft, work.training.curve())
        write_cost(draft, cost_of([work.training], work.traffic()))
    forget(store)
    return draft.ref
