"""Models read from and written to plain Hugging Face folders."""

from __future__ import annotations

import re
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
)
from transformers import SegformerImageProcessorPil as ImageProcessor
from transformers.utils import logging
from transformers.utils.hub import cached_file

from sats.errors import repeated
from sats.files import at_home, building
from sats.models.deeplab import register
from sats.models.preprocessing import FILE as PREPROCESSOR
from sats.models.preprocessing import read_preprocessing
from sats.models.segmenter import FAMILIES, Segmenter
from sats.types import BACKGROUND, BACKGROUND_NAMES, MOST_CLASSES, NOT_LEARNED_YET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

    from sats.models.preprocessing import Preprocessing

HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
RESERVED = "reserved.safetensors"
MARK = "has_background"
"""Where the network's own configuration says whether its first class is a background."""


def without_auxiliary_head(config: PreTrainedConfig) -> dict[str, bool]:
    """Settings that leave out a head that only helps to train from the start, where a network may have one."""
    return {"use_auxiliary_head": False} if hasattr(config, "use_auxiliary_head") else {}


def preprocessing_of(weights: str, config: PreTrainedConfig) -> Preprocessing:
    """What images go through before they reach ``weights``, a folder or a hub name."""
    return read_preprocessing(_preprocessor(weights), config.model_type)


def has_preprocessor(weights: str) -> bool:
    """Whether ``weights``, a folder or a hub name, come with a description of what images go through."""
    return _preprocessor(weights) is not None


def _preprocessor(weights: str) -> Path | None:
    try:
        file = cached_file(weights, PREPROCESSOR, _raise_exceptions_for_missing_entries=False)
    except OSError:
        file = None
    return Path(file) if file else None


def local(weights: str) -> str:
    """``weights`` as a folder here, if there is one, not a name on the hub."""
    path = at_home(weights)
    return str(path) if path.exists() else weights


def stored_config(weights: str) -> PreTrainedConfig:
    """The configuration beside ``weights``, a folder or a hub name."""
    folder = Path(weights)
    if folder.exists() and not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a model folder: it holds no config.json.")
    if not folder.exists() and not HUB_NAME.fullmatch(weights):
        raise ValueError(f"There is no folder {weights}, and a name on the hub looks like owner/model: fix the path.")
    register()
    try:
        with _quiet():
            settings, _ = PreTrainedConfig.get_config_dict(weights)
            kernels = _foreign_kernels(settings)
            config: PreTrainedConfig = AutoConfig.from_pretrained(weights, trust_remote_code=False)
    except Exception as error:
        if folder.exists():
            raise ValueError(
                f"{folder / 'config.json'} cannot be read, or is of no model that transformers knows: "
                "it should be one that transformers saved."
            ) from error
        raise ValueError(
            f"The weights {weights!r} are neither a model folder here nor could they be fetched from the hub: "
            "give the path of a local folder, or check the name and the connection."
        ) from error
    if kernels:
        raise ValueError(
            f"The weights {weights!r} ask for code from the hub ({kernels[0]!r:.100}), and sats runs none: take that "
            "out of their config.json."
        )
    return config


def _foreign_kernels(settings: object) -> list[str]:
    """The implementations, anywhere in a model's settings, that transformers would fetch from the hub and run."""
    if isinstance(settings, list):
        return [name for value in settings for name in _foreign_kernels(value)]
    if not isinstance(settings, dict):
        return []
    found = [name for value in settings.values() for name in _foreign_kernels(value)]
    own = [value for key, value in settings.items() if str(key).endswith("_implementation")]
    return found + [str(value) for value in own if "/" in str(value)]


def load(folder: Path, groups: Sequence[int] = ()) -> Segmenter:
    """The segmenter saved in ``folder``; ``groups`` says how many classes each step added (default: one step).

    Any folder of Hugging Face's layout with a network of FAMILIES will do; ValueError if it holds none, or one whose
    classes `check_names` refuses. A network whose
    first class is no background, by what we wrote beside it or else by its name, gets a virtual one.
    """
    reserved = folder / RESERVED
    network = load_network(folder)
    check_names(str(folder), network.config)
    with reading(str(folder)):
        rows = load_file(reserved) if reserved.is_file() else {}
    segmenter = as_segmenter(network, preprocessing_of(str(folder), network.config), groups)
    if rows:
        segmenter.classifier.reserve(len(rows["bias"]))
        segmenter.classifier.load_reserved(rows["weight"], rows["bias"])
    return segmenter


def as_segmenter(
    network: PreTrainedModel,
    preprocessing: Preprocessing,
    groups: Sequence[int] = (),
    first_is_background: bool | None = None,
) -> Segmenter:
    """``network`` with its own classes; ``first_is_background`` None: as ``groups`` or `has_background` tell."""
    names = class_names(network.config)
    if first_is_background is None:
        first_is_background = sum(groups) == len(names) if groups else has_background(network.config)
    channels = names if first_is_background else (NOT_LEARNED_YET, *names)
    return Segmenter(network, channels, groups, first_is_background, preprocessing)


def is_background(name: str) -> bool:
    """Whether a class of this name is a background."""
    return name.casefold() in BACKGROUND_NAMES


def load_network(folder: Path) -> PreTrainedModel:
    """The network saved in ``folder``, as transformers has it; ValueError if it holds none."""
    return fetch_network(str(folder), stored_config(str(folder)))


def fetch_network(weights: str, config: PreTrainedConfig) -> PreTrainedModel:
    """The whole network in ``weights``, a folder or a hub name, without an auxiliary head; ValueError if it is none."""
    check_family(weights, config)
    with reading(weights):
        loaded: Any = AutoModelForSemanticSegmentation.from_pretrained(
            weights,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **without_auxiliary_head(config),
        )
    network, report = loaded
    if lacking := sorted(report["missing_keys"]):
        raise ValueError(
            f"{weights} is not a semantic segmentation model: it lacks {len(lacking)} of its parameters, {lacking[0]} "
            "among them. An encoder alone can't be extended: train it first, with sats train and --model.weights."
        )
    found: PreTrainedModel = network
    return found


def check_family(weights: str, config: PreTrainedConfig) -> None:
    """ValueError if ``weights`` are of a network that sats does not know."""
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"{weights} is a {config.model_type} model, and no semantic segmentation that sats knows, which is by "
            f"{', '.join(FAMILIES)}."
        )


def class_names(config: PreTrainedConfig) -> list[str]:
    """The names of a network's channels, in their order, without blanks around them, as files of names have them."""
    return [str(name).strip() for _, name in sorted((config.id2label or {}).items())]


def check_names(model: str, config: PreTrainedConfig) -> None:
    """ValueError if several channels have one name, or there are more than a mask of 8 bits can tell apart."""
    names = class_names(config)
    if repeats := repeated(names):
        raise ValueError(f"{model} calls several classes {repeats}: fix id2label in its config.json.")
    if len(names) - has_background(config) > MOST_CLASSES:
        raise ValueError(f"{model} knows {len(names)} classes, and a mask of 8 bits has room for {MOST_CLASSES}.")


def has_background(config: PreTrainedConfig) -> bool:
    """Whether a network's first class is a background, by what we wrote beside it or else by its name."""
    marked = getattr(config, MARK, None)
    return is_background(class_names(config)[0]) if marked is None else bool(marked)


def save(segmenter: Segmenter, folder: Path, resize: int = 0) -> None:
    """Write ``segmenter`` to ``folder`` so that Hugging Face's own classes load it without us.

    ``resize`` is the short side to which its preprocessor brings images (0: it leaves their size). Reserved rows of
    the classifier, which those classes know nothing of, go into a file of their own. The folder is written beside and
    renamed, an existing one is replaced.
    """
    classifier = segmenter.classifier
    with building(folder) as beside:
        with _quiet(), _plain_network(segmenter) as network:
            network.save_pretrained(beside)
            ImageProcessor(
                do_resize=bool(resize),
                size={"shortest_edge": resize} if resize else None,
                default_to_square=False,
                image_mean=segmenter.preprocessing.mean,
                image_std=segmenter.preprocessing.std,
            ).save_pretrained(beside)
        if classifier.reserved_weight is not None and classifier.reserved_bias is not None:
            rows = {"weight": classifier.reserved_weight.detach(), "bias": classifier.reserved_bias.detach()}
            save_file(rows, beside / RESERVED)


@contextmanager
def _plain_network(segmenter: Segmenter) -> Iterator[PreTrainedModel]:
    """The network with one plain convolution as its classifier, as long as the context lasts."""
    network, name, growing = segmenter.network, segmenter.family.classifier, segmenter.classifier
    names = segmenter.classes if growing.has_background else segmenter.classes[BACKGROUND + 1 :]
    network.config.num_labels = len(names)
    network.config.id2label = dict(enumerate(names))
    network.config.label2id = {label: index for index, label in enumerate(names)}
    setattr(network.config, MARK, growing.has_background)
    network.set_submodule(name, growing.merged())
    try:
        yield network
    finally:
        network.set_submodule(name, growing)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn whatever goes wrong while a model is read into one ValueError."""
    try:
        with _quiet():
            yield
    except Exception as error:
        first = f"{str(error).strip() or type(error).__name__}\n".split("\n")[0]
        raise ValueError(
            f"The model {what!r} cannot be read ({first:.300}): it should be a folder that transformers saved, with "
            "its weights in safetensors."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars, its warnings about layers that start at random, and the hub's retries."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub = getLogger("huggingface_hub")
    level = hub.level
    logging.set_verbosity_error()
    hub.setLevel(ERROR)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub.setLevel(level)
        if bars:
            logging.enable_progress_bar()
