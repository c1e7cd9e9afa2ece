"""The model card beside each step's model: what it knows, how it came to that, how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sats.engine.run_folder import EXTENSION, run_of
from sats.evaluation.table import FIGURES
from sats.markdown import escaped, table
from sats.methods import method_name
from sats.types import NOT_LEARNED_YET
from sats.words import NOTHING, count, listed, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sats.config import RunConfig
    from sats.evaluation.scores import Scores
    from sats.methods import Method

CARD = """\
---
library_name: transformers
pipeline_tag: image-segmentation
tags:
- sats
- semantic-segmentation
- continual-learning
---

# {classes}, learned in {steps}

A semantic segmentation model, trained by sats with the method `{method}`: {data}.
This is the model after step {step} of {last_step}. Its inputs are RGB images as the preprocessor beside it makes them.

## Classes

{class_table}
## Scores

mIoU {measured} after each step, in percent:

{figure_table}
Each class after the last step: its intersection over union, what it lost since its best, and the pixels that this was
measured on.

{iou_table}
## Use

```python
from transformers import pipeline

segment = pipeline("image-segmentation", model="<this folder>")
```

## Licence

{origin} The terms of the images it was trained on apply to it.
"""


def model_card(config: RunConfig[Method], steps: Sequence[Mapping[str, object]], history: Sequence[Scores]) -> str:
    """The card, in Markdown, of the model after the last step of ``history``.

    ``steps`` says what each step of the run learns, and from how many images, as `RunFolder.steps` has it.
    """
    last = history[-1]
    virtual = _virtual(config)
    names = [name for name in last.classes if name not in virtual]
    figures = [(label, *[percent(scores.miou[key]) for scores in history]) for key, label in FIGURES.items()]
    return CARD.format(
        classes=count(len(names), "class", "classes"),
        steps=count(len(history), "step"),
        method=method_name(config.method),
        data=_data(config),
        step=last.step,
        last_step=len(steps) - 1,
        class_table=table(
            ("step", "learned", "images"),
            [_step(index, step, virtual) for index, step in enumerate(steps[: len(history)])],
        ),
        measured=_measured(config),
        figure_table=table(("mean over", *[f"step {scores.step}" for scores in history]), figures),
        iou_table=table(("class", "IoU, %", "forgot", "pixels"), [_class(name, last) for name in names]),
        origin=_origin(config),
    )


def _data(config: RunConfig[Method]) -> str:
    """What it was trained on; of a path only the last part, as it is nobody's business where it lies."""
    data, stream = config.data, config.stream
    if config.extends.checkpoint:
        return f"{_named(config.extends.checkpoint)}, extended by the folder {escaped(Path(data.root).name)}"
    source = "the built-in scenes" if data.source == "scenes" else f"the folder {escaped(Path(data.root).name)}"
    source = ", then ".join([source, *(escaped(Path(folder).name) for folder in data.folders)])
    if config.method.data == "all":
        return f"{source}, all classes at once"
    memory = f", with a memory of {count(config.memory.size, 'exemplar')}" if config.memory.size else ""
    return f"{source}, {escaped(stream.words)}, seed {config.seed}{memory}"


def _measured(config: RunConfig[Method]) -> str:
    old_data = config.extends.old_data
    if not config.extends.checkpoint:
        return f"on the split {escaped(config.data.test_split)}"
    if old_data:
        return f"of new classes on that folder's test images, of old ones on those of {_named(old_data)},"
    return "of new classes on that folder's test images, of old ones by what the old model saw in these,"


def _named(path: str) -> str:
    """A hub name as it is; of a path the name of its run, or its last part: where it lies is nobody's business."""
    if not Path(path).is_absolute():
        return escaped(path)
    run = run_of(Path(path))
    named = run.path if run else Path(path)
    return escaped(named.parent.name if named.name == EXTENSION else named.name)


def _origin(config: RunConfig[Method]) -> str:
    if config.extends.checkpoint:
        return f"It extends {_named(config.extends.checkpoint)}, whose terms apply to it."
    if config.start_from:
        return "What its step 0 started from, and under what licence, the card of that step says."
    weights = config.model.weights
    if not weights:
        return "It started from random weights."
    return (
        f"It started from the weights {_named(weights)}, whose terms apply to it: those that SegFormer's authors "
        "published (MiT, `nvidia/...`) are for non-commercial use only."
    )


def _virtual(config: RunConfig[Method]) -> frozenset[str]:
    """The background of a model that has none."""
    is_virtual = bool(config.extends.checkpoint) and not config.extends.background
    return frozenset({NOT_LEARNED_YET}) if is_virtual else frozenset()


def _step(index: int, step: Mapping[str, object], virtual: frozenset[str]) -> tuple[str, ...]:
    learned = step.get("domains", step["learns"])
    names = [escaped(name) for name in learned if name not in virtual] if isinstance(learned, list) else []
    return str(index), listed(names), str(step["images"] or NOTHING)


def _class(name: str, scores: Scores) -> tuple[str, ...]:
    return escaped(name), percent(scores.iou[name]), percent(scores.forgetting.get(name)), str(scores.pixels[name])
