from .attention import attention_transfer as attention_transfer
from .classification import cross_entropy as cross_entropy
from .classification import unbiased_cross_entropy as unbiased_cross_entropy
from .distillation import unbiased_distillation as unbiased_distillation
from .pseudo_labels import EntropyHistogram as EntropyHistogram
from .pseudo_labels import entropy as entropy
from .pseudo_labels import pseudo_labels as pseudo_labels
from .regions import class_regions as class_regions
from .regions import resize_labels as resize_labels

__all__ = [
    "EntropyHistogram",
    "attention_transfer",
    "class_regions",
    "cross_entropy",
    "entropy",
    "pseudo_labels",
    "resize_labels",
    "unbiased_cross_entropy",
    "unbiased_distillation",
]
