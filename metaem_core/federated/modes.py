"""The layouts in which a round travels; no torch here, so that settings may name them."""

from typing import Literal

Mode = Literal["literal", "product", "rows"]
