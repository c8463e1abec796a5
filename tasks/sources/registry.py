"""The sources by the name that settings use."""

from collections.abc import Callable

from tasks.sources.amazon_2014 import Amazon2014
from tasks.sources.amazon_2018 import Amazon2018
from tasks.sources.amazon_2023 import Amazon2023
from tasks.sources.base import Source
from tasks.sources.files import Files
from tasks.sources.synthetic import Synthetic

SOURCES: dict[str, Callable[..., Source]] = {
    "amazon-2014": Amazon2014,
    "amazon-2018": Amazon2018,
    "amazon-2023": Amazon2023,
    "files": Files,
    "synthetic": Synthetic,
}
