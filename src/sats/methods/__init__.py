"""Continual-learning methods, one file each. A new one is a file and an import here."""

from sats.methods.base import METHODS, Method
from sats.methods.dft import Dft
from sats.methods.ewc import Ewc
from sats.methods.ewf import Ewf
from sats.methods.finetune import Finetune
from sats.methods.ilt import Ilt
from sats.methods.joint import Joint
from sats.methods.lwf import Lwf
from sats.methods.lwf_mc import LwfMc
from sats.methods.mib import Mib
from sats.methods.pi import Pi
from sats.methods.plop import Plop
from sats.methods.rw import Rw
from sats.methods.sats import Sats
from sats.methods.sats_plus import SatsPlus
from sats.methods.ssul import Ssul

__all__ = [
    "METHODS",
    "Dft",
    "Ewc",
    "Ewf",
    "Finetune",
    "Ilt",
    "Joint",
    "Lwf",
    "LwfMc",
    "Method",
    "Mib",
    "Pi",
    "Plop",
    "Rw",
    "Sats",
    "SatsPlus",
    "Ssul",
    "method_name",
]


def method_name(method: Method) -> str:
    """The name under which ``method``'s class is listed in METHODS."""
    return next(name for name, listed in METHODS.items() if listed is type(method))
