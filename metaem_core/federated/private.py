"""The type boundary: what is private cannot be written down by accident."""

from typing import NoReturn


class Private:
    """Data of one device. It cannot be pickled, copied to another process, or printed."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raises TypeError."""
        raise TypeError(f"{type(self).__name__} does not leave its device")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(private)"
