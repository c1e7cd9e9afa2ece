from .attention import attention_transfer as attention_transfer
from .attention import feature_transfer as feature_transfer
from .classification import binary_cross_entropy as binary_cross_entropy
from .classification import cross_entropy as cross_entropy
from .classification import partial_cross_entropy as partial_cross_entropy
from .classification import unbiased_cross_entropy as unbiased_cross_entropy
from .distillation import binary_distillation as binary_distillation
from .distillation import distillation as distillation
from .distillation import distillation_beside_labels as distillation_beside_labels
from .distillation import lwf_mc as lwf_mc
from .distillation import unbiased_distillation as unbiased_distillation
from .features import class_moments as class_moments
from .features import expected_cross_entropy as expected_cross_entropy
from .features import mean_and_variance as mean_and_variance
from .importance import all_finite as all_finite
from .importance import normalised as normalised
from .importance import path_importance as path_importance
from .importance import path_integral as path_integral
from .importance import penalty as penalty
from .importance import penalty_gradient as penalty_gradient
from .importance import running_fisher as running_fisher
from .importance import walk_score as walk_score
from .pod import local_pod as local_pod
from .pod import pod_embedding as pod_embedding
from .pseudo_labels import EntropyHistogram as EntropyHistogram
from .pseudo_labels import entropy as entropy
from .pseudo_labels import most_likely as most_likely
from .pseudo_labels import pseudo_labels as pseudo_labels
from .regions import class_regions as class_regions
from .regions import resize_labels as resize_labels

__all__ = [
    "EntropyHistogram",
    "all_finite",
    "attention_transfer",
    "binary_cross_entropy",
    "binary_distillation",
    "class_moments",
    "class_regions",
    "cross_entropy",
    "distillation",
    "distillation_beside_labels",
    "entropy",
    "expected_cross_entropy",
    "feature_transfer",
    "local_pod",
    "lwf_mc",
    "mean_and_variance",
    "most_likely",
    "normalised",
    "partial_cross_entropy",
    "path_importance",
    "path_integral",
    "penalty",
    "penalty_gradient",
    "pod_embedding",
    "pseudo_labels",
    "resize_labels",
    "running_fisher",
    "unbiased_cross_entropy",
    "unbiased_distillation",
    "walk_score",
]
