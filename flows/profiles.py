"""Named deviations from the defaults; the defaults are the ``calibrated`` profile."""

PROFILES: dict[str, dict[str, object]] = {
    "calibrated": {},
    # Equations 3 to 6 as printed, without centring (docs: every ambiguity, decided)
    "paper": {
        "pretrain": {
            "centred": False,
            "relu_last": True,
            "meta_reads_raw": True,
            "tables": "lazy",
            "learning_rate": 3e-3,
            "l2": 1e-4,
            "table_learning_rate": 3e-3,
            "table_l2": 1e-4,
            "epochs": 40,
            "patience": 3,
        },
        "mapping": {"learning_rates": (1e-4, 1e-3, 1e-2), "patience": 10},
    },
}
