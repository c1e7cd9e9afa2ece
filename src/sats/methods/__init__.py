"""Continual-learning methods, one file each. A new one is a file and two lines here."""

from sats.methods.base import Method
from sats.methods.finetune import Finetune
from sats.methods.joint import Joint
from sats.methods.sats import Sats

__all__ = ["METHODS", "Method", "method_name"]

METHODS: dict[str, type[Method]] = {
    "finetune": Finetune,
    "joint": Joint,
    "sats": Sats,
}


def method_name(method: Method) -> str:
    """The name under which ``method``'s class is listed in METHODS."""
    return next(name for name, listed in METHODS.items() if listed is type(method))
