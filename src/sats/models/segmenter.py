"""One face over Hugging Face segmentation models: logits, features, attention taps, a classifier that grows."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import nn

from sats.models import attention
from sats.models.classifier import GrowingClassifier
from sats.models.deeplab import DEEPLAB
from sats.models.preprocessing import Preprocessing
from sats.models.segformer import SEGFORMER
from sats.models.upernet import UPERNET
from sats.models.vit import BEIT, DPT
from sats.types import MEAN, STD, AttentionTap, SegOutput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from sats.models.family import Family
    from sats.types import Init, Step

FAMILIES = {family.model_type: family for family in (SEGFORMER, UPERNET, BEIT, DPT, DEEPLAB)}


class Segmenter(nn.Module):
    """A Hugging Face segmentation network whose classes come in groups, one group for each step.

    ``network`` keeps its layout; only its last layer is exchanged for a `GrowingClassifier`, which takes over
    its rows. ``classes`` names every channel, the background first, be it virtual (see `GrowingClassifier`).
    ``preprocessing`` is what the network expects its images to have gone through.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        classes: Sequence[str],
        groups: Sequence[int] = (),
        has_background: bool = True,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.family = family_of(network)
        self.classes = tuple(classes)
        self.preprocessing = preprocessing or Preprocessing()
        plain = network.get_submodule(self.family.classifier)
        if not isinstance(plain, nn.Conv2d):
            raise TypeError(f"The classifier of {type(network).__name__} is not a convolution.")
        classifier = GrowingClassifier(plain.in_channels, tuple(groups) or (len(self.classes),), has_background)
        classifier.load(plain)
        network.set_submodule(self.family.classifier, classifier)
        self.family.adapt(network)
        attention.register()
        if self.attention_blocks:
            self.encoder.set_attn_implementation(attention.IMPLEMENTATION)

    @property
    def classifier(self) -> GrowingClassifier:
        """The last layer."""
        classifier = self.network.get_submodule(self.family.classifier)
        assert isinstance(classifier, GrowingClassifier)  # noqa: S101 (ours, set in the constructor)
        return classifier

    @property
    def encoder(self) -> PreTrainedModel:
        """The part that makes features of images."""
        return cast("PreTrainedModel", self.network.get_submodule(self.family.encoder))

    @property
    def attention_blocks(self) -> tuple[tuple[str, ...], ...]:
        """The names of the attention blocks of each encoder stage, first to last; none if its attention is no use."""
        return self.family.attention_blocks(self.network)

    @property
    def default_taps(self) -> tuple[str, ...]:
        """The last attention block of each encoder stage: the ones SATS transfers."""
        return tuple(stage[-1] for stage in self.attention_blocks if stage)

    def forward(self, images: Tensor, taps: Sequence[str] = ()) -> SegOutput:
        """Logits, features and the ``taps`` (names of attention blocks) of images [B, 3, H, W].

        They are normalised by MEAN and STD, whatever the network itself expects.
        """
        size = (images.shape[-2], images.shape[-1])
        blocks = {name: self.network.get_submodule(name) for name in taps}
        with attention.record(blocks.values()) as recording, self._returned() as returned:
            self.network(pixel_values=self.as_expected(images), output_hidden_states=True)
        read = self.family.read(self.network, returned["encoder"])
        features = self.family.maps(self.network, read, size)
        return SegOutput(
            logits=returned["classifier"],
            features=features,
            attentions=tuple(self._tap(name, recording[blocks[name]], features) for name in taps),
            size=size,
        )

    def as_expected(self, images: Tensor) -> Tensor:
        """Images normalised as the network expects them."""
        wanted = self.preprocessing
        if (wanted.mean, wanted.std) == (MEAN, STD):
            return images
        mean, std, own_mean, own_std = (
            torch.tensor(colour, device=images.device).view(1, 3, 1, 1)
            for colour in (MEAN, STD, wanted.mean, wanted.std)
        )
        return (images * std + mean - own_mean) / own_std

    @contextmanager
    def _returned(self) -> Iterator[dict[str, Any]]:
        """Within this context, keep what encoder and classifier return: some networks upsample it, or drop it."""
        kept: dict[str, Any] = {}
        parts = {"encoder": self.encoder, "classifier": self.network.get_submodule(self.family.classifier)}
        hooks = [
            part.register_forward_hook(lambda _, __, returned, name=name: kept.update({name: returned}))
            for name, part in parts.items()
        ]
        try:
            yield kept
        finally:
            for hook in hooks:
                hook.remove()

    def _tap(self, name: str, received: attention.Received | None, features: Sequence[Tensor]) -> AttentionTap:
        if received is None:
            raise ValueError(
                f"The block {name!r} of {type(self.network).__name__} yields no attention to tap: "
                "its attention does not go through transformers' AttentionInterface, or it was not reached."
            )
        stage = next(index for index, names in enumerate(self.attention_blocks) if name in names)
        height, width = features[stage].shape[-2:]
        tokens = self.family.tokens(self.network, stage, (height, width))
        first, mask = tokens.prefix, received.mask
        if mask is not None and mask.shape[-2] > 1:
            mask = mask[..., first:, :]
        return AttentionTap(
            query=received.query[:, :, first:],
            key=received.key,
            scaling=received.scaling,
            mask=mask,
            grid=(height, width),
            key_grid=tokens.key_grid,
            key_prefix=first,
        )

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """What head and features need of what the encoder makes of images [B, 3, H, W]: tensors [B, ...]."""
        encoded = self.encoder(self.as_expected(images), output_hidden_states=True)
        return self.family.read(self.network, encoded)

    @contextmanager
    def encoded(self, read: Sequence[Tensor]) -> Iterator[None]:
        """Within this context the encoder does not run: ``read``, of `encode`, stands for its answer to every image.

        Its forward is covered, and not the module exchanged, as networks ask more of an encoder than to be called, and
        hooks on it must see the call. Its attention cannot be tapped meanwhile.
        """
        answer = self.family.returned(self.network, read)
        vars(self.encoder)["forward"] = lambda *_, **__: answer
        try:
            yield
        finally:
            del vars(self.encoder)["forward"]

    @contextmanager
    def other_classifier(self, classifier: nn.Module) -> Iterator[None]:
        """Within this context ``classifier`` makes the logits, instead of the model's own."""
        name, own = self.family.classifier, self.classifier
        self.network.set_submodule(name, classifier)
        try:
            yield
        finally:
            self.network.set_submodule(name, own)

    def grow(self, step: Step, names: Sequence[str], init: Init) -> None:
        """Add ``step``'s new classes, called ``names``, to the classifier; see `GrowingClassifier.grow`."""
        if len(names) != step.num_new:
            raise ValueError(f"{step} needs {step.num_new} names, got {list(names)}.")
        self.classifier.grow(step, init)
        self.classes = (*self.classes, *names)

    def frozen_copy(self) -> Self:
        """A teacher: the same weights in eval mode, without gradients."""
        teacher = copy.deepcopy(self)
        teacher.requires_grad_(requires_grad=False)
        return teacher.eval()

    def parameter_parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parameters, parted into "encoder", "decoder" and "classifier"."""
        parts: dict[str, list[nn.Parameter]] = {"encoder": [], "decoder": [], "classifier": []}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                parts[self._part(name)].append(parameter)
        return parts

    def _part(self, name: str) -> str:
        if name.startswith(f"{self.family.classifier}."):
            return "classifier"
        return "encoder" if name.startswith(f"{self.family.encoder}.") else "decoder"


def family_of(network: PreTrainedModel) -> Family:
    """What sats knows of ``network``'s architecture; ValueError if it knows nothing."""
    model_type = network.config.model_type
    if model_type not in FAMILIES:
        raise ValueError(
            f"sats cannot train {type(network).__name__} ({model_type}) yet; it knows {', '.join(FAMILIES)}."
        )
    return FAMILIES[model_type]
