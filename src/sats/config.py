"""A run's settings: nested frozen dataclasses, to JSON and back. Read before torch is loaded."""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import tyro
from typeguard import TypeCheckError

from sats.config_checks import check
from sats.documents import checked, parse_json
from sats.dotted import merged, nested
from sats.errors import unknown
from sats.methods import Method, method_class, method_name
from sats.types import Background, ExemplarLabels, Future, HasBackground, Increment, OnError, Selection, Setting, Void

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MethodT_co = TypeVar("MethodT_co", bound=Method, covariant=True)


def _short(name: str) -> Any:
    """A second, short flag for an everyday setting."""
    return tyro.conf.arg(aliases=[name])


def _split(words: list[str]) -> tuple[str, ...]:
    return tuple(part.strip() for part in words[0].split(",") if part.strip())


Names = Annotated[
    tuple[str, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="A,B,...",
        instance_from_str=_split,
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(name, str) for name in value),
        str_from_instance=lambda names: [",".join(names)],
    ),
]
"""Names with commas between them on the command line, a list in JSON."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Images and masks."""

    source: Literal[
        "scenes",
        "folder",
        "voc",
        "ade20k",
        "cityscapes",
        "cityscapes-cities",
        "bdd100k",
        "camvid",
        "coco-stuff",
        "ccp",
        "idd-lite",
    ] = "scenes"
    """Built-in composites of digits, a folder of your own images and masks, or a data set of the field as people have
    it on disk (`sats data list`)."""
    root: Annotated[str, _short("--data")] = ""
    """The folder that holds it; scenes need none."""
    folders: Annotated[
        tuple[Annotated[str, tyro.conf.arg(metavar="DIR")], ...], _short("--step"), tyro.conf.UseAppendAction
    ] = ()
    """Folders of images and masks that arrive one after the other, one a step, each with the classes that it names.
    Where no other data is named, the first is step 0. Repeat it: --step A --step B."""
    classes: Annotated[Names, _short("--classes")] = ()
    """Learn only these classes of the data; the rest becomes background. Empty: all. Folders that arrive later bring
    all of theirs."""
    has_background: HasBackground = "auto"
    """Whether the folder's class 0 is a background; "auto" goes by its name."""
    train_split: str = "train"
    """The split to learn from."""
    test_split: str = "val"
    """The split to measure on."""
    images: Annotated[int, _short("--images")] = 1000
    """Scenes: training images; a quarter as many test images."""
    image_size: int = 64
    """Scenes: pixels per side."""
    void: Void = "ignore"
    """What pixels of 255 are in training: left out, or background (MiB's code)."""
    saliency: str = "spectral-residual"
    """Where methods such as ssul find objects in the background: "spectral-residual" (computed from each image),
    "everywhere", or a folder of maps that are named like the images."""
    on_error: Annotated[OnError, _short("--on-error")] = "error"
    """What to do about an image or mask that cannot be used: stop with an error, or skip it and note it in
    skipped.jsonl."""
    rebuild_index: Annotated[bool, _short("--rebuild-index")] = False
    """Look through all masks again, even where the cached index seems up to date."""


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Which classes, or domains, arrive when."""

    protocol: Annotated[str, _short("--protocol")] = "5-1"
    """A-B: step 0 learns A classes, each later step B more. all: every class in step 0."""
    of: Increment = "classes"
    """What arrives: classes; or domains, the folders that a split's images are in, all with the same classes."""
    setting: Annotated[Setting, _short("--setting")] = "overlapped"
    """Which images and labels a step sees; see docs/data.md."""
    steps: tuple[Names, ...] = ()
    """The classes (or domains) of each step by name, instead of a protocol: a,b c d,e is three steps."""
    order: Names = ()
    """Every class (or domain) once, in the order to learn them. Empty: the data's own, of domains the alphabet's."""
    order_seed: int | None = None
    """Shuffle the order with this seed."""

    @property
    def words(self) -> str:
        """What arrives when, in a few words."""
        listed = f"protocol {self.protocol}" if not self.steps else "steps by name"
        return f"{listed} of domains" if self.of == "domains" else f"{listed}, {self.setting}"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network."""

    name: Literal[
        "segformer-tiny",
        "segformer-b0",
        "segformer-b1",
        "segformer-b2",
        "segformer-b3",
        "segformer-b4",
        "segformer-b5",
        "deeplabv3-r50",
        "deeplabv3-r101",
        "auto",
    ] = "segformer-b0"
    """Its size; "auto": whatever network or backbone the weights are of."""
    weights: str = ""
    """A local folder or a hub name to start from; an encoder alone will do. Empty: start at random."""
    decoder_size: int = 0
    """Channels of the head; 0: those of the model's authors (SATS: 256)."""


@dataclass(frozen=True, kw_only=True)
class ExtensionConfig:
    """A trained model to extend, in place of a step 0 to train."""

    checkpoint: str = ""
    """Its folder, or its name on the hub; empty: nothing is extended. Its classes are the first of stream.steps."""
    background: str = ""
    """What it calls its background, its class 0; empty: it has none."""
    old_data: str = ""
    """A folder of images and masks to measure its old classes on."""


@dataclass(frozen=True, kw_only=True)
class PartFactors:
    """What the learning rate is multiplied by in each part of the model."""

    encoder: float = 1.0
    """For the encoder."""
    decoder: float = 1.0
    """For the decoder."""
    classifier: float = 1.0
    """For the classifier."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimizer and its schedule."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum, or AdamW."""
    lr: Annotated[float, _short("--lr")] = 0.01
    """Learning rate of step 0."""
    lr_later: Annotated[float, _short("--lr-later")] = 0.001
    """Learning rate of every later step."""
    factors: PartFactors = field(default_factory=PartFactors)
    """Factors of the rate of step 0."""
    factors_later: PartFactors = field(default_factory=PartFactors)
    """Factors of the rate of every later step."""
    momentum: float = 0.9
    """SGD's momentum."""
    weight_decay: float = 1e-4
    """Decay of every trained parameter."""
    power: float = 0.9
    """The rate falls as (1 - iteration / iterations) ** power; 0 keeps it."""
    warmup: float = 0.0
    """Share of a step's iterations over which the rate rises linearly from near 0."""
    clip: float = 0.0
    """Largest norm of the gradient; 0: no limit."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A step's training."""

    epochs: Annotated[int, _short("--epochs")] = 30
    """Passes over the data in step 0."""
    epochs_later: Annotated[int, _short("--epochs-later")] = 0
    """Passes over the data in every later step; 0: as many as in step 0."""
    batch_size: Annotated[int, _short("--batch-size")] = 24
    """Images in one update, over all processes."""
    accumulation: int = 1
    """Parts in which a batch goes through the model, to save memory."""
    crop: Annotated[int, _short("--crop")] = 512
    """Side of the square training crops, in pixels."""
    resize: int = 0
    """Bring each image's short side to this many pixels first, in training and in tests; 0: do not."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the random zoom."""
    scaling: Literal["zoom", "area"] = "zoom"
    """What scale is a range of: factors of the sides, or (MiB's code) shares of the area, aspect ratio varied."""
    flip: bool = True
    """Mirror half of the images."""
    colour: float = 0.0
    """Strength of random brightness, contrast and saturation."""
    workers: Annotated[int, _short("--workers")] = -1
    """Processes that load images, for each that trains; -1: chosen for the device."""
    feature_cache: int = 0
    """MiB of memory, for each process, in which what a frozen encoder makes of images is kept from epoch to epoch; 0:
    nothing is. Needs training without random zoom and colour, and images as large as the crop."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision; "no" is float32."""
    checkpointing: bool = False
    """Compute the encoder's layers again in backward instead of keeping what they made: less memory, more time."""
    channels_last: bool = False
    """Store the weights of convolutions with the channels last."""
    compile: bool = False
    """Run parts of the model through torch.compile, which takes minutes the first time."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints from which an interrupted run goes on."""
    log_every: int = 10
    """Iterations between lines of metrics.jsonl."""

    def epochs_of(self, step_index: int) -> int:
        """Passes over the data of a step."""
        return self.epochs if step_index == 0 else self.epochs_later or self.epochs


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Exemplars: images of earlier steps that are learned from again; see docs/memory.md."""

    size: int = 0
    """Exemplars in all; 0: no memory."""
    selection: Selection = "balanced"
    """The same number for each class; at random; or balanced by what the model sees as well (SSUL)."""
    labels: ExemplarLabels = "own"
    """Labels of the step an exemplar comes from; "seen": of every class up to now, a leak that some codes have."""
    copy: bool = False
    """Keep copies of the exemplars in the run's folder, so that the old data may be gone."""

    @property
    def asks_the_model(self) -> bool:
        """Whether an image also counts as holding the classes that the model is sure to see in it."""
        return self.selection == "ssul"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a step's model is measured."""

    mode: Literal["full", "crop"] = "full"
    """Whole images, or the middle square after scaling to the training crop (as published codes do)."""
    future: Future = "background"
    """What pixels of classes not yet learned count as."""
    background: Background = "count"
    """Whether pixels of the background are measured; MiB's code leaves out ADE20K's class 0, "other"."""
    batch_size: int = 16
    """Images at a time."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(Generic[MethodT_co]):
    """Everything that decides a run."""

    recipe: tyro.conf.Suppress[str]
    """The recipe it started from."""
    method: MethodT_co
    """The continual-learning method."""
    data: DataConfig = field(default_factory=DataConfig)
    """Images and masks."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    """Which classes, or domains, arrive when."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """The optimizer and its schedule."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """A step's training."""
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """Exemplars of earlier steps."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How a step's model is measured."""
    seed: int = 0
    """Decides initial weights, order of images, augmentation and dropout."""
    start_from: Annotated[str, _short("--from")] = ""
    """RUN/step-0 of a run, instead of training step 0; or RUN, to go on from all its steps with --step DIR."""
    extends: tyro.conf.Suppress[ExtensionConfig] = field(default_factory=ExtensionConfig)
    """What `sats extend` was asked for."""

    @property
    def measures_agreement(self) -> bool:
        """Whether old classes are measured by what the extended model used to answer, as nothing labels them."""
        return bool(self.extends.checkpoint) and not self.extends.old_data

    @property
    def measured_crop(self) -> int:
        """Side of the middle square that is measured, in pixels; 0: whole images."""
        return self.train.crop if self.evaluation.mode == "crop" else 0

    def __post_init__(self) -> None:
        check(self)


def to_json(config: RunConfig[Method]) -> str:
    """The settings as JSON, the method's name among its fields."""
    values = dataclasses.asdict(config)
    values["method"] = {"name": method_name(config.method), **values["method"]}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str, where: str = "the configuration") -> RunConfig[Method]:
    """The settings of `to_json`'s text; ValueError names an unknown key and the nearest right one."""
    values = parse_json(text, where)
    if not isinstance(values, dict) or not isinstance(values.get("method"), dict):
        raise ValueError(f"{where} is not a run's configuration: it has no method.")
    name = str(values["method"].pop("name", None))
    try:
        kind = method_class(name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return typing.cast("RunConfig[Method]", _build(RunConfig, values, where, {"method": kind}))


def with_settings(config: RunConfig[Method], settings: Mapping[str, Any]) -> RunConfig[Method]:
    """``config`` with some settings changed, by dotted names as in {"train.epochs": 2}.

    Another method, {"method.name": "mib"}, comes with its own defaults. ValueError names an unknown setting and the
    nearest right one, or what cannot work together.
    """
    changes: dict[str, Any] = {}
    for name, value in settings.items():
        changes = merged(changes, nested(name, value))
    values = json.loads(to_json(config))
    method = changes.get("method")
    other = method.get("name") if isinstance(method, dict) else None
    if other not in (None, values["method"]["name"]):
        values["method"] = dataclasses.asdict(method_class(str(other))())
    return from_json(json.dumps(merged(values, changes), default=str), "the settings")


def read_config(path: Path) -> RunConfig[Method]:
    """The settings in the file ``path``."""
    try:
        return from_json(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8 ({error}): put back what sats wrote.") from error


def _build(kind: type[Any], values: Mapping[str, Any], where: str, concrete: Mapping[str, type[Any]]) -> Any:
    """An instance of the dataclass ``kind``; ``concrete`` names the classes of fields typed by a variable."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected the settings of {kind.__name__}, got {values!r}.")
    types = {**typing.get_type_hints(kind), **concrete}
    names = [entry.name for entry in dataclasses.fields(kind)]
    for name in values:
        if name not in names:
            raise ValueError(f"{where}: {unknown('setting', name, names)}")
    arguments = {name: _convert(types[name], value, f"{where}: {name}") for name, value in values.items()}
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{where}: {error}.") from error


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast("type[Any]", kind), value, where, {})
    value = _tuples(value)
    try:
        return checked(value, kind)
    except TypeCheckError as error:
        if typing.get_origin(kind) is Literal and isinstance(value, str):
            raise ValueError(f"{where}: {unknown('choice', value, typing.get_args(kind))}") from error
        raise ValueError(f"{where} must be {getattr(kind, '__name__', kind)}, not {value!r}.") from error


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, at every depth."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
