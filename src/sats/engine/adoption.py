"""Steps taken over from another run: its step 0 alone, or all of them to go on from."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sats.engine.run import described_steps
from sats.engine.run_folder import MODEL, SCORES, STEPS, RunFolder, is_run
from sats.files import at_home, saving
from sats.methods.base import prepare_model
from sats.models.checkpoint import load as load_model

if TYPE_CHECKING:
    from pathlib import Path

    from sats.config import RunConfig
    from sats.engine.run import Run
    from sats.methods import Method
    from sats.types import Step


def adopt(run: Run) -> None:
    """Take over what the settings name, unless that is done; ValueError if this run would not go on from it."""
    if not run.config.start_from or run.folder.step(0).exists():
        return
    if run.method.data == "all":
        raise ValueError("Joint training learns everything in one step of its own: leave out --from.")
    earlier = started_from(run.config)
    if earlier is None:
        adopt_step0(run, at_home(run.config.start_from))
    else:
        adopt_run(run, earlier)


def started_from(config: RunConfig[Method]) -> RunFolder | None:
    """The run whose steps this one goes on from, if it does from a whole run."""
    path = at_home(config.start_from)
    return RunFolder(path) if config.start_from and is_run(path) else None


def adopt_run(run: Run, earlier: RunFolder) -> None:
    """Take over all steps of a finished run, and its memory; ValueError if this one would not go on from it."""
    number = earlier.num_steps()
    if not earlier.is_finished():
        raise ValueError(f"{earlier.path} is not finished: go on with `sats resume {earlier.path}` first.")
    if len(run.stream.steps) <= number:
        raise ValueError(
            f"{earlier.path} has learned all of its {number} steps: bring a folder for the next with --step DIR, or "
            f"take over {earlier.step(0)} alone."
        )
    _check_same_start(earlier.config(), run.config, earlier.path)
    for step, scores in zip(run.stream.steps, earlier.scores(), strict=False):
        _check_same_classes(earlier, scores.classes, run.stream.names(step))
        _check_same_domains(run, earlier, step, earlier.path)
    if run.method.init == "reserved" and not load_model(earlier.step(number - 1) / MODEL).classifier.reserved:
        raise ValueError(
            f"{earlier.path} has no reserved rows left that new classes could start from: add --method.init background."
        )
    with saving(run.folder.path):
        run.folder.write(STEPS, described_steps(run, [{**step, "taken_over": True} for step in earlier.steps()]))
        if earlier.memory_path.is_file():
            run.folder.write(run.folder.memory_path.name, earlier.memory_path.read_text(encoding="utf-8"))
        if earlier.copies.is_dir():
            shutil.copytree(earlier.copies, run.folder.copies, dirs_exist_ok=True)
        for index in reversed(range(number)):  # with step 0, the last, all is there
            with run.folder.writing_step(index) as folder:
                shutil.copytree(earlier.step(index), folder, dirs_exist_ok=True)


def _check_same_classes(earlier: RunFolder, known: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    """ValueError unless a step of another run knows the classes that the same step here would know."""
    if known != wanted:
        raise ValueError(
            f"{earlier.path} knows the classes {', '.join(known)}; here it would know {', '.join(wanted)}: name the "
            "same data, in the same steps."
        )


def _check_same_domains(run: Run, earlier: RunFolder, step: Step, source: Path) -> None:
    """ValueError unless a ``step`` of another run, taken over from ``source``, learned the domains that it has here."""
    wanted = run.stream.domains(step)
    known = next(iter(earlier.domains()[step.index :]), wanted)  # a step may lie alone
    if set(known) != set(wanted):
        raise ValueError(
            f"{source} has learned {', '.join(known)} in step {step.index}; here that would be {', '.join(wanted)}: "
            "name the same domains in the same steps, or train step 0 anew."
        )


def adopt_step0(run: Run, source: Path) -> None:
    """Take over the finished step 0 of another run; ValueError if it is none, or learned other classes or images."""
    if not (source / SCORES).is_file():
        raise ValueError(f"{source} is not a finished step: --from takes RUN/step-0 of a run, or RUN and a --step DIR.")
    earlier, first = RunFolder(source.parent), run.stream.steps[0]
    _check_same_start(earlier.config(), run.config, source)
    _check_same_domains(run, earlier, first, source)
    wanted = run.stream.names(first)
    model = load_model(source / MODEL)
    if model.classes != wanted:
        raise ValueError(
            f"{source} knows the classes {', '.join(model.classes)}; this run's step 0 learns {', '.join(wanted)}."
        )
    reserved = model.classifier.reserved
    prepare_model(run.method, model, first)
    if model.classifier.reserved != reserved:
        raise ValueError(
            f"{source} has {reserved} reserved rows, this run's step 0 {model.classifier.reserved}: it was trained for "
            "another number of classes to come. Train step 0 anew."
        )
    now = len(run.stream.train_samples(first))
    then = next((described["images"] for described in earlier.steps()), now)
    if then != now:
        run.log.say(f"{source} has seen {then} training images; of the data here it would see {now}.")
    with saving(run.folder.step(0)), run.folder.writing_step(0) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def _check_same_start(other: RunConfig[Method], own: RunConfig[Method], source: Path) -> None:
    """ValueError where step 0 of another run means something else than it would in this one."""
    pairs = {
        "the method's step 0": (other.method.step0_key(), own.method.step0_key()),
        "data.source": (other.data.source, own.data.source),
        "stream.of": (other.stream.of, own.stream.of),
        "stream.setting": (other.stream.setting, own.stream.setting),
        "model.name": (other.model.name, own.model.name),
        "model.decoder_size": (other.model.decoder_size, own.model.decoder_size),
        "train.resize": (other.train.resize, own.train.resize),
        "evaluation.mode": (other.evaluation.mode, own.evaluation.mode),
        "the crop that is measured": (other.measured_crop, own.measured_crop),
        "data.test_split": (other.data.test_split, own.data.test_split),
        "evaluation.background": (other.evaluation.background, own.evaluation.background),
        "data.void": (other.data.void, own.data.void),
        "evaluation.future": (other.evaluation.future, own.evaluation.future),
    }
    if own.data.source == "scenes":
        pairs["data.images"] = (other.data.images, own.data.images)
        pairs["data.image_size"] = (other.data.image_size, own.data.image_size)
    if own.method.uses_saliency:
        pairs["data.saliency"] = (other.data.saliency, own.data.saliency)
    if own.stream.setting == "partitioned":  # the deal to all steps decides which images step 0 has seen
        pairs["seed"] = (other.seed, own.seed)
        for name in ("protocol", "steps", "order", "order_seed"):
            pairs[f"stream.{name}"] = (getattr(other.stream, name), getattr(own.stream, name))
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise ValueError(
                f"{source} was made with {name} {theirs!r}, this run has {ours!r}: use the same, or train step 0 anew."
            )
