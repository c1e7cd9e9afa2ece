"""A classifier whose new rows are generated from the old ones (NeST, arXiv 2407.14142), while they are pre-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from sats.losses.regions import class_members, resize_labels
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from torch import Tensor

    from sats.models.classifier import GrowingClassifier
    from sats.types import Step


class GeneratedClassifier(nn.Module):
    """Each new row is sum_k u_ck (P_ck * w_k) over the old rows w_k; the background's row is m * w_0.

    ``weight`` [K, D] and ``bias`` [K] are the old rows, which stay; learned are P ``combination`` [N, K, D], u
    ``share`` [N, K], a bias for each of the N new classes, and m [D] and a factor of the bias for the background.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, combination: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.combination = nn.Parameter(combination)
        self.share = nn.Parameter(combination.sum(dim=2).softmax(dim=1))
        self.new_bias = nn.Parameter(bias[BACKGROUND].repeat(len(combination)))
        self.background = nn.Parameter(torch.ones_like(weight[BACKGROUND]))
        self.background_bias = nn.Parameter(torch.ones_like(bias[BACKGROUND]))

    def new_rows(self) -> Tensor:
        """The generated rows [N, D]."""
        return torch.einsum("nk,nkd,kd->nd", self.share, self.combination, self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, K + N, h, w] of features [B, D, h, w]."""
        background = (self.background * self.weight[BACKGROUND])[None]
        rows = torch.cat([background, self.weight[BACKGROUND + 1 :], self.new_rows()])
        first_bias = (self.background_bias * self.bias[BACKGROUND])[None]
        biases = torch.cat([first_bias, self.bias[BACKGROUND + 1 :], self.new_bias])
        return functional.conv2d(features, rows[:, :, None, None], biases)

    def keep_background(self) -> None:
        """Learn the new rows alone."""
        self.background.requires_grad = False
        self.background_bias.requires_grad = False

    @torch.no_grad()
    def write_to(self, classifier: GrowingClassifier) -> None:
        """Put the generated rows into the newest group of ``classifier``, brought to the old ones' scale.

        New rows get the old ones' mean norm, new biases together the norm of the old ones, the background its old norm.
        """
        rows, background = self.new_rows(), self.background * self.weight[BACKGROUND]
        scale = _ratio(self.weight.norm(dim=1).mean(), rows.norm(dim=1).mean())
        bias_scale = _ratio(self.bias.norm(), self.new_bias.norm())
        background_scale = _ratio(self.weight[BACKGROUND].norm(), background.norm())
        classifier.weights[-1].copy_((scale * rows)[:, :, None, None])
        classifier.biases[-1].copy_(bias_scale * self.new_bias)
        classifier.weights[0][BACKGROUND] = (background_scale * background)[:, None, None]
        classifier.biases[0][BACKGROUND] = self.background_bias * self.bias[BACKGROUND]


class CombinationStatistics:
    """Sums up, over pixels of each new class, which old rows see it and through which channels: P at its start.

    P_c[k, d] is the mean over the pixels of new class c of p_k [feature_d w_kd > 0], p the old classes' softmax;
    0 for a class without a pixel. ``sums`` [N, K, D] and ``counts`` [N] may be added up over processes.
    """

    def __init__(self, step: Step, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.classes = torch.arange(step.num_seen, device=weight.device)[step.new]
        self.sums = weight.new_zeros(len(self.classes), *weight.shape)
        self.counts = weight.new_zeros(len(self.classes))

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Count the classifier's input ``features`` [B, D, h, w], and ``labels`` [B, H, W] resized to them."""
        height, width = features.shape[-2:]
        members = class_members(resize_labels(labels, (height, width)), self.classes).float()
        old = functional.conv2d(features, self.weight[:, :, None, None], self.bias).softmax(dim=1).flatten(2)
        flat = features.flatten(2).transpose(1, 2)
        above, below = (flat > 0).float(), (flat < 0).float()
        for place, region in enumerate(members.unbind(dim=1)):  # one class at a time: all at once fill a GPU
            seen = old * region[:, None]
            positive, negative = (seen @ above).sum(dim=0), (seen @ below).sum(dim=0)
            self.sums[place] += torch.where(self.weight > 0, positive, torch.where(self.weight < 0, negative, 0.0))
        self.counts += members.sum(dim=(0, 2))

    def combination(self) -> Tensor:
        """P at its start [N, K, D]."""
        return self.sums / self.counts.clamp(min=1)[:, None, None]


def _ratio(wanted: Tensor, given: Tensor) -> Tensor:
    """What brings a norm ``given`` to the one ``wanted``; 1 where it is 0."""
    return torch.where(given > 0, wanted / given.clamp(min=torch.finfo(given.dtype).tiny), 1.0)
