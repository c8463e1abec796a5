"""What can happen to a file on a disk."""

import os
from pathlib import Path


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def edit(path: Path) -> None:
    """One bit, keeping size and modification time."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


DAMAGES = [delete, truncate, edit]

# JSON, but of another shape than what was there
OTHER_SHAPES = ["null", "7", '"x"', "[]", "{}", '{"files": []}', '{"files": {}, "rows": null}']
