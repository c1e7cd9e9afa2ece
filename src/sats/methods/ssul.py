"""SSUL: semantic segmentation with unknown label (arXiv 2106.11562)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sats import losses
from sats.methods.base import Method
from sats.types import BACKGROUND, IGNORE, Init

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.models.segmenter import Segmenter
    from sats.types import Batch, SegOutput, Step


@dataclass(frozen=True, kw_only=True)
class Ssul(Method, name="ssul"):
    """SSUL: sigmoids, everything old frozen, and an unknown class.

    The unknown class is a reserved row, after the classes; new rows start as copies of it. Its probability counts as
    background's at test. Which background is unknown, a saliency map says (``--data.saliency``); that of exemplars
    stays background, as in the published code. Deviations: each class's head is a row of the classifier, so that the
    saved model is a plain one, where the code has a 3x3 convolution, batch norm and ReLU of its own before each; and
    the background's row is frozen, where the code gives it 0.0001 of the rate.
    """

    uses_teacher: ClassVar[bool] = True
    needs_new_classes: ClassVar[bool] = True
    uses_saliency: ClassVar[bool] = True
    always_freezes: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"sure": (0, 1)}

    init: Init = "reserved"
    """How new rows of the classifier start; "reserved": as the unknown class's."""
    sure: float = 0.7
    """The teacher's class is believed where its probability is at least this."""

    def prepare_model(self, model: Segmenter, step: Step) -> None:
        """Reserve the unknown class's row; after step 0 freeze all but it and the new rows, batch norm included."""
        if step.index > 0:
            model.requires_grad_(requires_grad=False).eval()
            model.classifier.requires_grad_(requires_grad=True)
            model.classifier.freeze_old()
        model.classifier.reserve(1)

    def targets(self, context: Context, batch: Batch, teacher: SegOutput | None) -> Tensor:
        """The step's labels; salient background is the unknown class, unless the teacher knows it."""
        assert batch.salient is not None  # noqa: S101 (ours: the engine looks where `uses_saliency` asks)
        unknown, background = context.step.num_seen, batch.labels == BACKGROUND
        targets = batch.labels.masked_fill(background & batch.salient, unknown)
        if teacher is None:
            return targets
        classes, confidence = losses.most_likely(teacher.logits, teacher.size_at(self.distill_at))
        known = (classes > BACKGROUND) & (classes < context.step.num_old) & (confidence >= self.sure)
        answers = losses.resize_labels(classes.where(known, BACKGROUND), (targets.shape[1], targets.shape[2]))
        return answers.where(background & (answers != BACKGROUND), targets)

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Binary cross-entropy of every class, the unknown one too; mean over the pixels that are not ignored."""
        counted = (targets != IGNORE).sum().clamp(min=1)
        return {"binary_cross_entropy": losses.binary_cross_entropy(student.logits, targets).sum() / counted}

    def scores(self, logits: Tensor, num_classes: int) -> Tensor:
        """Each class against the rest; the unknown class's probability is added to the background's."""
        probabilities = logits.sigmoid()
        probabilities[:, BACKGROUND] += probabilities[:, num_classes:].sum(dim=1)
        return probabilities[:, :num_classes]

    def probabilities(self, logits: Tensor, num_classes: int) -> Tensor:
        """The scores, at most 1: they do not sum to 1."""
        return self.scores(logits, num_classes).clamp(max=1)

    def step0_key(self) -> str:
        """A key of its own: step 0 learns sigmoids and the unknown class."""
        return "binary-cross-entropy with an unknown class"
