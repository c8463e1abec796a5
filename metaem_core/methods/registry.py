"""The methods of Table 3 by name, MetaEM aside: it is trained by devices, these in one place."""

from metaem_core.methods.cmf import cmf
from metaem_core.methods.dcdcsr import dcdcsr
from metaem_core.methods.emcdr import emcdr
from metaem_core.methods.method import Fit
from metaem_core.methods.ptupcdr import ptupcdr
from metaem_core.methods.sscdr import sscdr
from metaem_core.methods.tgt import tgt
from metaem_core.methods.tmcdr import tmcdr

METHODS: dict[str, Fit] = {
    "tgt": tgt,
    "cmf": cmf,
    "dcdcsr": dcdcsr,
    "sscdr": sscdr,
    "emcdr": emcdr,
    "ptupcdr": ptupcdr,
    "tmcdr": tmcdr,
}
