"""The words every part shares: a step's channel arithmetic, a batch, a model's output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

BACKGROUND: Final = 0
IGNORE: Final = 255
MOST_CLASSES: Final = IGNORE - 1
"""That masks of bytes can tell apart, beside the background."""
SALIENT: Final = 254
"""Within the loader: background that a saliency map calls an object. Batches tell it by `Batch.salient`."""
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
"""ImageNet's, in RGB of 0 to 1: what `Batch.images` are normalised by."""
NOT_LEARNED_YET: Final = "background: not learned yet"
"""Name of the class 0 given to data, or to a model, without a background of its own."""
BACKGROUND_NAMES: Final = frozenset({"background", "__background__", "_background_", "bg", NOT_LEARNED_YET})
"""What a background is called, in small letters."""
MIN_SIDE: Final = 32
"""Pixels: the smallest image side that every encoder's strides leave something of."""

Init = Literal["background", "random", "zero", "reserved", "nest", "teacher"]
"""How a classifier's new rows start."""
Pooling = Literal["class", "global", "none", "class-pair"]
"""How attention rows are pooled before they are compared."""
ALL: Final = "all"
"""The protocol that brings everything in step 0."""
Setting = Literal["overlapped", "disjoint", "sequential", "partitioned"]
"""Which images and labels a step sees."""
Selection = Literal["balanced", "random", "ssul"]
"""How exemplars are chosen."""
ExemplarLabels = Literal["own", "seen"]
"""Which classes an exemplar carries as labels."""
HasBackground = Literal["auto", "yes", "no"]
"""Whether a data set's class 0 is a background; "auto" goes by its name."""
Future = Literal["background", "ignore"]
"""What test pixels of classes not yet learned count as."""
DistillAt = Literal["pixels", "logits"]
"""Where the old model's answers are compared, and thresholded: at full resolution, or at that of the model's head."""
Increment = Literal["classes", "domains"]
"""What arrives step by step."""
Background = Literal["count", "ignore"]
"""Whether test pixels of the background are measured."""
Crowd = Literal["class", "ignore"]
"""Whether COCO's crowd regions are of their class."""
Unknown = Literal["refuse", "ignore", "background"]
"""What becomes of colours, or ids, that have no name when masks are converted."""
Void = Literal["ignore", "background"]
"""What pixels that nobody labelled are in training."""
OnError = Literal["error", "skip"]
"""What an image or mask that cannot be used does: it ends the command, or is left out and noted."""


@dataclass(frozen=True)
class Step:
    """One stage of the class stream: which of the classifier's channels are old and which are new.

    Channel 0 is always background. ``num_old`` counts it from step 1 on; at step 0 nothing is old, so
    ``num_old`` is 0 and ``num_new`` counts the background. ``num_future`` classes are left to later steps. A later step
    that brings a new domain has no new class.
    """

    index: int
    num_old: int
    num_new: int
    num_future: int = 0

    def __post_init__(self) -> None:
        if min(self.index, self.num_old, self.num_new, self.num_future) < 0 or self.num_seen < 1:
            raise ValueError(f"A step knows at least one class and has no negative counts, got {self}.")
        if (self.num_old == 0) != (self.index == 0):
            raise ValueError(f"Only step 0 starts without old classes, got {self}.")

    @property
    def num_seen(self) -> int:
        """Channels of the classifier in this step, the background's included."""
        return self.num_old + self.num_new

    @property
    def first_new(self) -> int:
        """The first channel of a new foreground class."""
        return max(self.num_old, BACKGROUND + 1)

    @property
    def new(self) -> slice:
        """The channels of the new foreground classes."""
        return slice(self.first_new, self.num_seen)


def steps_of(sizes: Sequence[int]) -> tuple[Step, ...]:
    """The steps that add so many foreground classes each; step 0 adds the background as well."""
    steps: list[Step] = []
    for index, size in enumerate(sizes):
        seen = steps[-1].num_seen if steps else 0
        num_new = size if index else size + BACKGROUND + 1
        steps.append(Step(index, seen, num_new, num_future=sum(sizes[index + 1 :])))
    return tuple(steps)


@dataclass(frozen=True)
class Batch:
    """Normalised images [B, 3, H, W] (float32) and their labels [B, H, W] (int64, channels or IGNORE).

    ``salient`` [B, H, W] (bool) marks background pixels that a saliency map calls an object; None where nobody looked.
    """

    images: Tensor
    labels: Tensor
    salient: Tensor | None = None


@dataclass(frozen=True)
class AttentionTap:
    """What one attention block received, kept instead of its queries x keys map.

    ``query`` [B, heads, Q, d] and ``key`` [B, heads, K, d]; ``scaling`` multiplies their product; ``mask``, if
    any, is added to it; ``grid`` is the height and width in tokens of the Q queries; ``key_grid`` that of the K keys,
    None where they lie on no grid. The first ``key_prefix`` keys, class and register tokens, lie on none in any case.
    """

    query: Tensor
    key: Tensor
    scaling: float
    mask: Tensor | None
    grid: tuple[int, int]
    key_grid: tuple[int, int] | None = None
    key_prefix: int = 0

    def rows(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The attention rows of queries ``start`` to ``stop``, softmaxed over keys: [B, heads, queries, K].

        Without arguments this is the full map, meant for tests and plots: training pools rows in chunks.
        """
        query = self.query[:, :, start:stop].float() * self.scaling
        scores = query @ self.key.float().transpose(-2, -1)
        if self.mask is not None:
            scores = scores + self._additive_mask()[..., start:stop, :]
        return scores.softmax(dim=-1)

    def split(self, images: int) -> list[AttentionTap]:
        """The same, ``images`` at a time."""
        queries, keys = self.query.split(images), self.key.split(images)
        masks = [None] * len(keys) if self.mask is None else self._every_mask(self.mask).split(images)
        parts = zip(queries, keys, masks, strict=True)
        return [replace(self, query=query, key=key, mask=mask) for query, key, mask in parts]

    def pick(self, queries: Tensor) -> AttentionTap:
        """The same for some ``queries`` [B, q] of each image, which need not lie on a grid."""
        mask = None if self.mask is None else picked(self._every_mask(self.mask), queries)
        return replace(self, query=picked(self.query, queries), mask=mask, grid=(1, queries.shape[1]))

    def _every_mask(self, mask: Tensor) -> Tensor:
        """The mask with its batch and its queries written out."""
        batch, _, count, _ = self.query.shape
        return mask.expand(batch, -1, count, -1)

    def _additive_mask(self) -> Tensor:
        """The mask for every query, -inf where a boolean one hides a key."""
        assert self.mask is not None  # noqa: S101 (ours: asked for only where there is one)
        mask = self.mask.expand(*self.mask.shape[:-2], self.query.shape[2], self.mask.shape[-1])
        return mask if mask.is_floating_point() else mask.float().log()


def picked(rows: Tensor, queries: Tensor) -> Tensor:
    """Of ``rows`` [B, heads, Q, n] those of the ``queries`` [B, q] of each image: [B, heads, q, n]."""
    if len(rows) == 1:
        return rows.index_select(2, queries[0])
    return rows.gather(2, queries[:, None, :, None].expand(-1, rows.shape[1], -1, rows.shape[3]))


@dataclass(frozen=True)
class SegOutput:
    """What a segmenter returns for a batch of images of ``size`` (height, width).

    ``logits`` [B, C, h, w] have the head's resolution, those of the classifier's reserved rows, if any, after the
    classes; ``features`` are the encoder's stage outputs [B, c, h_s, w_s]; ``attentions`` holds one tap for each block
    asked for, in that order.
    """

    logits: Tensor
    features: tuple[Tensor, ...]
    attentions: tuple[AttentionTap, ...]
    size: tuple[int, int]

    @cached_property
    def pixel_logits(self) -> Tensor:
        """Logits at the images' resolution [B, C, H, W], float32, bilinear; computed once."""
        return self.logits_at(self.size)

    def size_at(self, place: DistillAt) -> tuple[int, int]:
        """Height and width of the images, or of the head's logits."""
        return self.size if place == "pixels" else (self.logits.shape[2], self.logits.shape[3])

    def logits_at(self, size: tuple[int, int]) -> Tensor:
        """Logits brought to ``size`` (height, width), bilinear: [B, C, height, width], float32."""
        from torch.nn.functional import interpolate

        return interpolate(self.logits.float(), size=size, mode="bilinear", align_corners=False)
