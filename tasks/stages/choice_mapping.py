"""Stage 2 of choice: the mapping from what users choose in the source to the target's items."""

from dataclasses import asdict, astuple, dataclass, field

from metaem_core.config.choice import ChoiceMappingConfig
from tasks.models.data import read_pair
from tasks.progress import advance
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class ChoiceMappingRequest:
    """How the mapping is fitted, and which ratings of source and target are choices."""

    config: ChoiceMappingConfig = field(default_factory=ChoiceMappingConfig)
    thresholds: tuple[float | None, float | None] = (None, None)


@stage("choice_mapping")
def choice_mapping(
    store: Store,
    request: ChoiceMappingRequest,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
) -> ArtifactRef:
    """Fit the mapping on the training overlap; validation users help to select its damping."""
    # torch is imported only by runs that train
    import polars as pl

    from data_contracts.training import ChoiceCandidates
    from metaem_core.data.choices import ChoicePair
    from metaem_core.methods.metaem.choice_transfer import Candidate, ChoiceTransfer
    from tasks.models.choice import read_choice_domain, write_choice_model
    from tasks.models.evaluated_cell import SELECTED

    data = read_pair(store, source, target, split)
    domains = read_choice_domain(store, source_model), read_choice_domain(store, target_model)
    pair = ChoicePair.of(data.pair, request.thresholds)
    validation = data.held_out_choices(data.roles.validation, request.thresholds[1])
    work = ChoiceTransfer(request.config, *domains, pair, *validation)
    total = len(request.config.damping) + len(request.config.residual_damping)

    def on_candidate(candidate: Candidate) -> None:
        note = f"validation NDCG {candidate.ndcg:.4f}"
        advance(len(work.candidates), total, unit="setting", note=note)

    model = work.fit(on_candidate)
    rows = [astuple(candidate) for candidate in work.candidates]
    frame = pl.DataFrame(rows, schema=ChoiceCandidates.column_names(), orient="row")
    with store.draft() as draft:
        write_choice_model(draft, model, data.target.item_ids)
        candidates = ChoiceCandidates.cast(frame)
        draft.write_frame("candidates.parquet", candidates, ChoiceCandidates)
        draft.write_json(SELECTED, asdict(work.selected))
    return draft.ref
