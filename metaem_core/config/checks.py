"""Checks that the stages' settings share."""


def require_positive(config: object, zero: tuple[str, ...]) -> None:
    """Refuse numbers that are not positive; those named in ``zero`` may be 0."""
    for name, value in vars(config).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            too_small = value < 0 if name in zero else value <= 0
            if too_small:
                raise ValueError(f"{name} is too small: {value!r}")
