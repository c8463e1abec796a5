"""Named deviations from the defaults; the defaults are the ``calibrated`` profile."""

from typing import TypeVar

StageConfig = TypeVar("StageConfig")

PROFILES: dict[str, dict[str, dict[str, object]]] = {
    "calibrated": {},
    # Equations 3 to 6 as printed, without centring (docs: every ambiguity, decided)
    "paper": {
        "pretrain": {
            "centred": False,
            "relu_last": True,
            "meta_reads_raw": True,
            "cohort_size": 256,
            "tables": "lazy",
            "learning_rate": 3e-3,
            "l2": 1e-4,
            "table_learning_rate": 3e-3,
            "table_l2": 1e-4,
            "epochs": 40,
            "patience": 3,
        },
        "mapping": {"learning_rates": (1e-4, 1e-3, 1e-2), "patience": 10},
        # what PTUPCDR's released code does; its dimension, not the paper's 32, explains Table 3
        "factors": {
            "centred": False,
            "size": 10,
            "batch_size": 256,
            "learning_rate": 1e-2,
            "l2": 0.0,
            "init_std": 1.0,
            "epochs": 10,
            "patience": 0,
            "holdout": 0.0,
        },
        "transfer": {"learning_rate": 1e-2, "l2": 0.0, "epochs": 10, "patience": 0},
    },
}


def compared(config: StageConfig, own: str, profile: str, stage: str) -> StageConfig:
    """A stage's settings in a comparison: the run's own where ``profile`` is the run's, ``own``.

    Otherwise those of the profile and nothing else: what is shown as published or as printed must
    not depend on what was set for the run.
    """
    return config if profile == own else type(config)(**PROFILES[profile].get(stage, {}))
