"""Addresses as messages and records may show them."""

import re


def without_login(url: str) -> str:
    """The URL, fit for a log: a user name and password in it are blotted out."""
    return re.sub("//[^/@]*@", "//***@", url)
