"""How a round's messages are encoded; no torch here, so that settings may name it."""

from typing import Literal

Layout = Literal["literal", "product", "rows"]  # the server reads each upload
Mode = Layout | Literal["secure"]  # the server reads sums alone
