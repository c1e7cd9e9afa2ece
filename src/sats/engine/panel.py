"""A few test images, each beside its truth and what models see in it, as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.extension import Extension
from sats.evaluation.contact_sheet import choose, contact_sheet, reduced
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from sats.config import RunConfig
    from sats.data.stream import Joined, Samples, Stream
    from sats.evaluation.predict import Predictor
    from sats.methods import Method
    from sats.types import Step

EVERY_ID = 256
IMAGES = 4
"""Test images that a picture shows."""


def draw_panel(
    config: RunConfig[Method],
    stream: Stream | Extension,
    step: Step,
    models: Mapping[str, Predictor],
    images: int = IMAGES,
) -> Image.Image:
    """Draw test images with the labels of ``step``, and what each of the ``models``, by title, sees in them.

    Always the same images, chosen by the classes that the stream will have brought in the end, as far as they are
    there in ``step``. ValueError if there is none to draw.
    """
    samples = measured_on(config, stream, step)
    rows = []
    for position in shown_positions(config, stream, len(samples), images):
        image, truth = samples[position]
        small, labels = reduced(image, truth)
        seen = [model.predict(image).labels for model in models.values()]
        caption = ", ".join([f"{samples.key(position)}: image", "truth", *models])
        rows.append((small, (labels, *seen), caption))
    return contact_sheet(rows, stream.names(step))


def shown_positions(config: RunConfig[Method], stream: Stream | Extension, there: int, images: int) -> list[int]:
    """The places of the test images to show, of which the first so many are ``there``."""
    last = stream.steps[-1]
    presence = measured_on(config, stream, last).presence(EVERY_ID)[:, BACKGROUND + 1 : last.num_seen]
    chosen = [position for position in choose(presence, images, seed=0) if position < there]
    return sorted(chosen) or list(range(min(images, there)))


def measured_on(config: RunConfig[Method], stream: Stream | Extension, step: Step) -> Samples | Joined:
    """The images that ``step`` is measured on; of an extension, those of the new classes."""
    if isinstance(stream, Extension):
        return stream.test_samples(step)
    return stream.test_samples(step, config.evaluation.future, config.evaluation.background)
