"""EWF: endpoints weight fusion, CVPR 2023."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from sats.methods.base import Method
from sats.methods.mib import Mib
from sats.methods.plop import Plop, Pod

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from sats.methods.context import Context
    from sats.models.segmenter import Segmenter
    from sats.types import Batch, SegOutput, Step


@dataclass(frozen=True, kw_only=True)
class Ewf(Method, name="ewf"):
    """EWF: train as MiB or PLOP, then average the weights of before and after.

    theta <- (1 - w) theta_old + w theta with w = sqrt(new classes / all classes), background counted as old, for every
    tensor of the old model, batch-norm statistics included; rows of new classes stay. The old rows of the classifier
    are frozen during the step. The fused model is measured, saved, and the next teacher. Deviations: none known; the
    published option to fuse only the weights that changed most is left out.
    """

    uses_teacher: ClassVar[bool] = True
    needs_new_classes: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"pod.scales": (1, math.inf)}

    base: Literal["mib", "plop"] = "mib"
    """The method whose losses train the step."""
    distillation: float = 10.0
    """Weight of the unbiased distillation, with base mib; published for ADE20K 100-10 and 100-5: 100."""
    pod: Pod = field(default_factory=Pod)
    """The distillation of features and logits, with base plop."""

    def _base(self) -> Method:
        if self.base == "mib":
            return Mib(distillation=self.distillation, distill_at=self.distill_at)
        return Plop(pod=self.pod, distill_at=self.distill_at)

    def prepare_model(self, model: Segmenter, step: Step) -> None:
        """Freeze the old rows of the classifier."""
        if step.index > 0:
            model.classifier.freeze_old()

    def learns_pseudo_labels(self) -> bool:
        """Where the base does."""
        return self._base().learns_pseudo_labels()

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Those of the base."""
        return self._base().losses(context, batch, targets, student, teacher)

    def end_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Fuse what the old model had with what the step made of it."""
        if context.teacher is None:
            return
        weight = math.sqrt(context.step.num_new / context.step.num_seen)
        new = context.model.state_dict()
        for name, old in context.teacher.state_dict().items():
            if old.is_floating_point():
                new[name].copy_(old.lerp(new[name], weight))
