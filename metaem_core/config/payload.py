"""How a round travels; no torch here, so that settings may name it."""

from typing import Literal

Layout = Literal["literal", "product", "rows"]  # an upload that the server can read
Mode = Layout | Literal["secure"]  # or sums alone
