"""Continual-learning methods, one file each. A new one is a file and an import here."""

from sats.errors import unknown
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
from sats.methods.own import VARIABLE
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
    "method_class",
    "method_name",
]


def method_class(name: str) -> type[Method]:
    """The method called ``name``; ValueError names the nearest right name."""
    if name not in METHODS:
        raise ValueError(f"{unknown('method', name, METHODS)} ({VARIABLE}=FILE.py brings one of your own.)")
    return METHODS[name]


def method_name(method: Method) -> str:
    """The name of ``method`` on the command line; ValueError if its class has none."""
    if not method.name:
        kind = type(method).__name__
        raise ValueError(f'The method {kind} has no name: write class {kind}(Method, name="...").')
    return method.name
