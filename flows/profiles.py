"""Named deviations from the defaults; the defaults are the ``calibrated`` profile."""

PROFILES: dict[str, dict[str, object]] = {
    "calibrated": {},
    # Equations 3 to 6 as printed, without centring (docs: every ambiguity, decided)
    "paper": {
        "pretrain": {"centred": False, "relu_last": True, "meta_reads_raw": True},
    },
}
