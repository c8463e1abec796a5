"""The methods of Table 3 by name, MetaEM aside: it is trained by devices, these in one place."""

from metaem_core.methods.emcdr import emcdr
from metaem_core.methods.method import Fit
from metaem_core.methods.tgt import tgt

METHODS: dict[str, Fit] = {"tgt": tgt, "emcdr": emcdr}
