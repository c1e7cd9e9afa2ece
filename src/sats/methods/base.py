"""What a continual-learning method is, and what it may see."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from sats import losses
from sats.methods.attention_transfer import AttentionTransfer
from sats.methods.feature_replay import FeatureReplay
from sats.methods.pretuning import Pretuning
from sats.methods.pseudo_labelling import gather_thresholds, teacher_labels
from sats.types import BACKGROUND, IGNORE, DistillAt, Init

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from sats.methods.context import Context
    from sats.models.segmenter import Segmenter
    from sats.types import Batch, SegOutput, Step


METHODS: dict[str, type[Method]] = {}
"""Every method that has been imported, by its name on the command line."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A continual-learning method: hyperparameters as fields, behaviour as functions of a `Context`.

    ``class Mine(Method, name="mine")`` is known as ``--method mine`` once it is imported; ValueError if another class
    has that name. Only `losses` must be written. The engine owns forward, backward, optimizer, devices and checkpoints;
    whatever a method remembers lives in ``context.state``.
    """

    def __init_subclass__(cls, *, name: str = "", **rest: object) -> None:
        """Make the method known by ``name``; without one it is an example or a test's, and no run can have it."""
        super().__init_subclass__(**rest)
        cls.name = name
        if not name:
            return
        known = METHODS.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"{known.__module__}.{known.__qualname__} is called {name!r} already: choose another name."
            )
        METHODS[name] = cls  # a class that is defined once more, as in a notebook, takes its own place

    name: ClassVar[str] = ""
    """What the method is called on the command line."""
    data: ClassVar[Literal["stream", "all"]] = "stream"
    """ "all": trains once, on every class with every label; "stream": step by step."""
    uses_teacher: ClassVar[bool] = False
    """Whether `losses` reads the teacher's output after step 0."""
    uses_pseudo_labels: ClassVar[bool] = False
    """Whether `targets` are pseudo-labels after step 0."""
    uses_saliency: ClassVar[bool] = False
    """Whether `losses` reads ``batch.salient``."""
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """The least and the most that a number may be, by its field's dotted name; every other one is at least 0."""
    needs_new_classes: ClassVar[bool] = False
    """Whether a step that brings no new class gives it nothing to learn."""
    always_freezes: ClassVar[bool] = False
    """Whether the encoder learns nothing after step 0, whatever the settings."""

    init: Init = "background"
    """How new rows of the classifier start; "reserved": from rows kept for them; "nest": pre-tuned (NeST);
    "teacher": as the mean of the old ones, weighted by what the teacher takes the new class's pixels for."""
    pretuning: Pretuning = field(default_factory=Pretuning)
    """Pre-tuning of new rows, where init is "nest"."""
    distill_at: DistillAt = "pixels"
    """Where the old model's answers are compared, and thresholded for pseudo-labels: at full resolution, as published,
    or at that of the model's head, which costs less."""
    frozen_encoder: bool = False
    """Keep the encoder as it is after step 0."""
    attention_transfer: AttentionTransfer = field(default_factory=AttentionTransfer)
    """Self-attention transfer, which any method can carry; weight 0 is off."""
    feature_replay: FeatureReplay = field(default_factory=FeatureReplay)
    """Replay of old classes' features to the classifier, which any method can carry; weight 0 is off."""
    logit_adjustment: float = 0.0
    """Lower new classes' logits after each step, as its images show them more often than all images do; 1 does so as
    far as the numbers of images tell, 0 is off. Any method can carry it."""

    def distilled(
        self, context: Context, batch: Batch, student: SegOutput, teacher: SegOutput
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, int]]:
        """What distillation compares: logits of student and teacher, on which pixels, and at which size."""
        size = teacher.size_at(self.distill_at)
        return student.logits, teacher.logits, context.distillation_mask(losses.resize_labels(batch.labels, size)), size

    @abstractmethod
    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """The weighted terms of the loss, scalars by name; ``targets`` [B, H, W] are what `targets` returned.

        ``teacher`` is None at step 0, and where nothing asks for one.
        """

    def prepare_model(self, model: Segmenter, step: Step) -> None:
        """Freeze or restructure the grown model before a step's training; the switches of every method come after."""

    def begin_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Gather statistics into ``context.state`` before a fresh step.

        ``loader`` is one pass over the step's new images; exemplars of earlier steps are not among them.
        """

    def learns_pseudo_labels(self) -> bool:
        """Whether `targets` are pseudo-labels after step 0, whose thresholds are gathered before each step."""
        return self.uses_pseudo_labels

    def targets(self, context: Context, batch: Batch, teacher: SegOutput | None) -> Tensor:
        """The labels [B, H, W] to learn from: the step's own; background as the teacher sees it where it asks for that.

        Pseudo-labels are the teacher's class where it is sure, else IGNORE. A model without a background does not learn
        from pixels that have no label.
        """
        if teacher is None or not self.learns_pseudo_labels():
            labels = batch.labels
            return labels if context.has_background else labels.masked_fill(labels == BACKGROUND, IGNORE)
        return teacher_labels(context, batch, teacher, self.distill_at)

    def regions(self, context: Context, batch: Batch, targets: Tensor, teacher: SegOutput) -> Tensor:
        """The labels [B, H, W] whose regions the attention transfer pools by.

        The current label where there is one, elsewhere the teacher's class where it is sure, the rest IGNORE:
        whatever the method itself trains on.
        """
        if self.learns_pseudo_labels():
            return targets
        return teacher_labels(context, batch, teacher, self.distill_at)

    def after_backward(self, context: Context) -> None:
        """Read or add to gradients, once per update: accumulated, synchronised, unscaled, not yet clipped."""

    def end_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Consolidate after a step's training; ``loader`` is one pass over its new images, without exemplars."""

    def scores(self, logits: Tensor, num_classes: int) -> Tensor:
        """Class scores [B, ``num_classes``, H, W] to take the argmax of.

        ``logits`` [B, C, H, W] may hold reserved rows after the classes; here these have no say.
        """
        return logits[:, :num_classes]

    def probabilities(self, logits: Tensor, num_classes: int) -> Tensor:
        """Class probabilities [B, ``num_classes``, H, W], with the argmax of `scores`: by softmax, usually."""
        return self.scores(logits, num_classes).softmax(dim=1)

    def step0_key(self) -> str:
        """What decides how step 0 is trained; runs with equal keys may share a trained step 0."""
        return "cross-entropy"


def freezes_encoder(method: Method) -> bool:
    """Whether the encoder learns nothing after step 0."""
    return method.always_freezes or method.frozen_encoder


def prepare_model(method: Method, model: Segmenter, step: Step) -> None:
    """Freeze or restructure the grown model as ``method`` and its switches ask."""
    method.prepare_model(model, step)
    if step.index > 0 and freezes_encoder(method):
        model.encoder.requires_grad_(requires_grad=False).eval()


def needs_teacher(method: Method, step: Step) -> bool:
    """Whether the engine must run the previous step's model beside the new one."""
    asked = method.uses_teacher or method.learns_pseudo_labels() or method.attention_transfer.weight > 0
    return step.index > 0 and asked


def pretunes(method: Method, step: Step) -> bool:
    """Whether new rows of the classifier are pre-tuned before ``step`` (NeST)."""
    return step.index > 0 and step.num_new > 0 and method.init == "nest"


def begin_step(method: Method, context: Context, loader: Iterable[Batch]) -> None:
    """Gather what ``method`` and the parts it carries need before a fresh step."""
    if needs_teacher(method, context.step) and (method.learns_pseudo_labels() or method.attention_transfer.weight > 0):
        gather_thresholds(context, loader, method.distill_at)
    method.begin_step(context, loader)


def end_step(method: Method, context: Context, loader: Iterable[Batch]) -> None:
    """Consolidate as ``method`` and its switches ask.

    All images of a step show a new class, of all images only some do: the model learns another prior than it will meet.
    The new rows' biases are lowered by the logarithm of how much more often, times the method's factor (post-hoc logit
    adjustment: Menon et al., ICLR 2021).
    """
    method.end_step(context, loader)
    step = context.step
    if method.logit_adjustment > 0 and step.index > 0 and step.num_new > 0:
        context.model.classifier.biases[-1] -= method.logit_adjustment * math.log(context.overrepresented)


def all_losses(
    method: Method, context: Context, batch: Batch, student: SegOutput, teacher: SegOutput | None
) -> dict[str, Tensor]:
    """The weighted terms of ``method`` and of the attention transfer it carries, scalars by name."""
    targets = method.targets(context, batch, teacher)
    terms = method.losses(context, batch, targets, student, teacher)
    transfer = method.attention_transfer
    if teacher is not None and transfer.weight > 0:
        regions = method.regions(context, batch, targets, teacher)
        terms = {**terms, "attention": transfer.loss(regions, student, teacher)}
    if method.feature_replay.takes_part(context.state, context.step):
        terms = {**terms, "replay": method.feature_replay.loss(context)}
    return terms
