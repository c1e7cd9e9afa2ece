"""DFT*: fine-tuning new rows of a frozen model (arXiv 2508.04267)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sats import losses
from sats.methods.base import Method
from sats.types import BACKGROUND, Init

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.models.segmenter import Segmenter
    from sats.types import Batch, SegOutput, Step


@dataclass(frozen=True, kw_only=True)
class Dft(Method, name="dft"):
    """DFT*: cross-entropy alone; later, only rows of new and future classes learn.

    The rows of every future class exist from step 0 on, reserved, and take part as classes that are never right; so
    how many classes will come must be known. After step 0 encoder and decoder are frozen in eval mode, and the old
    rows, the background's among them. Published rates of later steps differ by protocol and backbone
    (docs/methods.md). Deviation: a pixel that a future class wins counts as background, as it is in the labels; the
    code's argmax leaves it wrong.
    """

    needs_new_classes: ClassVar[bool] = True
    always_freezes: ClassVar[bool] = True

    init: Init = "reserved"
    """How new rows of the classifier start; "reserved": as they were learned so far, as negatives."""

    def prepare_model(self, model: Segmenter, step: Step) -> None:
        """Reserve the future rows; after step 0 freeze all but them and the new ones."""
        if step.index > 0:
            model.requires_grad_(requires_grad=False).eval()
            model.classifier.requires_grad_(requires_grad=True)
            model.classifier.freeze_old()
        model.classifier.reserve(step.num_future)

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Cross-entropy over every row, reserved ones included."""
        return {"cross_entropy": losses.cross_entropy(student.logits, targets).mean()}

    def scores(self, logits: Tensor, num_classes: int) -> Tensor:
        """Every row has a say; where a reserved one wins, it is background."""
        scores = logits[:, :num_classes].clone()
        for reserved in logits[:, num_classes:].unbind(dim=1):
            scores[:, BACKGROUND] = scores[:, BACKGROUND].maximum(reserved)
        return scores

    def step0_key(self) -> str:
        """A key of its own: step 0 learns the rows of every future class."""
        return "cross-entropy with the rows of every future class"
