"""The protocol of PTUPCDR's released code, to compare with the figures that it prints.

Embeddings start at N(0, 1) without mean or bias, predictions are not clipped, there is no
validation. After each of ten epochs the *test* users are scored, and the smallest MAE and the
smallest RMSE over the epochs are reported: both are chosen on the test users.
"""

from dataclasses import replace

from metaem_core.config.factor import FactorConfig
from metaem_core.config.transfer import TransferConfig
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ratings, RatingScale
from metaem_core.methods.baselines.cmf import cmf
from metaem_core.methods.baselines.emcdr import emcdr
from metaem_core.methods.baselines.ptupcdr import ptupcdr
from metaem_core.methods.baselines.tgt import tgt
from metaem_core.methods.factorisation.pretraining import Factorisation
from metaem_core.methods.transfer_problem import Fit, Problem
from metaem_core.models.factors import FactorModel
from metaem_core.training.epochs import EpochStats, Errors

UNCLIPPED = RatingScale(3 - 1e6, 3 + 1e6)  # the middle stays: liked is what is rated above 3
FACTORS = FactorConfig(
    size=10,
    batch_size=256,
    learning_rate=0.01,
    l2=0.0,
    init_std=1.0,
    epochs=10,
    patience=0,
    holdout=0.0,
    centred=False,
    scale=UNCLIPPED,
)
TRANSFER = TransferConfig(learning_rate=0.01, l2=0.0, epochs=10, patience=0, scale=UNCLIPPED)
BATCHES: dict[str, tuple[Fit, int]] = {
    "cmf": (cmf, 256),
    "emcdr": (emcdr, 64),
    "ptupcdr": (ptupcdr, 128),
}


def released_source(ratings: Ratings, seed: int) -> FactorModel:
    """The pretrained source domain; it is the same for every split."""
    work = Factorisation(replace(FACTORS, seed=seed), ratings)
    for _ in work.epochs():
        pass
    return work.model()


def released_errors(
    pair: DomainPair, test: Queries, source: FactorModel, seed: int
) -> dict[str, Errors]:
    """Errors that TGT, CMF, EMCDR and PTUPCDR report; ``pair`` has no validation users."""
    factors, config = replace(FACTORS, seed=seed), replace(TRANSFER, seed=seed)
    domain = Factorisation(factors, pair.target)
    problem = Problem(pair, test, source, domain.model(), factors)
    untrained = tgt(problem, config, _ignore)
    curves = {"tgt": [untrained.errors(UNCLIPPED) for _ in domain.epochs()]}
    for name, (fit, batch_size) in BATCHES.items():
        curve: list[EpochStats] = []
        fit(problem, replace(config, batch_size=batch_size), curve.append)
        curves[name] = [Errors(e.validation_mae, e.validation_rmse) for e in curve]
    return {name: _least(curve) for name, curve in curves.items()}


def _least(curve: list[Errors]) -> Errors:
    return Errors(min(e.mae for e in curve), min(e.rmse for e in curve))


def _ignore(_: object) -> None:
    pass
