"""A run: one step after the other, in a straight line."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from sats.data.loader import watched_workers
from sats.engine import build, extension, launch, memory, processes, recollection, switches
from sats.engine.adoption import adopt, started_from
from sats.engine.card import model_card
from sats.engine.checkpoint import load_newest, putting_back
from sats.engine.environment import environment
from sats.engine.followers import following
from sats.engine.log import Log
from sats.engine.loop import optimise
from sats.engine.measure import measure
from sats.engine.new_rows import start_new_rows
from sats.engine.panel import draw_panel
from sats.engine.rehearsal import freeze_unused, rehearse_batch, rehearse_transfer
from sats.engine.run import OnePass, Run, described_steps, finished_model, make_loader, seed_everything
from sats.engine.run_folder import ENVIRONMENT, MODEL, SCORES, STEPS, RunFolder
from sats.engine.sums import check_sums, write_sums
from sats.errors import RunError
from sats.evaluation.predict import Predictor
from sats.files import saving, write_text
from sats.methods.base import begin_step, end_step, needs_teacher, prepare_model
from sats.methods.context import Context
from sats.models.checkpoint import reading
from sats.models.checkpoint import save as save_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accelerate import Accelerator
    from torch import Tensor

    from sats.config import RunConfig
    from sats.data.extension import Extension
    from sats.data.loader import TrainLoader
    from sats.data.stream import Stream
    from sats.engine.checkpoint import Checkpoint
    from sats.engine.measure import Measurement
    from sats.evaluation.scores import Scores
    from sats.methods import Method
    from sats.models.segmenter import Segmenter
    from sats.types import Step

STATE = "state.safetensors"
TRAIN_SMALLER = "Lower --batch-size or --crop, or share a batch with --train.accumulation."
MEASURE_SMALLER = "Lower --evaluation.batch-size, or measure crops with --evaluation.mode crop."


def train(config: RunConfig[Method], folder: RunFolder, log: Log | None = None) -> list[Scores]:
    """Run every step of ``config`` in ``folder`` and return the scores after each.

    ValueError for settings or data that do not fit; RunError when a loss is no longer finite.
    """
    if config.train.precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("Precision fp16 needs a GPU, and none is here: set --train.precision no.")
    if config.train.compile:
        switches.check_compiler()
    AcceleratorState._reset_state()  # noqa: SLF001 (else the precision of an earlier run in this process stays)
    accelerator = processes.make_accelerator(config.train.precision)
    log = log or Log(folder.metrics_path, quiet=not launch.is_main())
    with following(folder, log):
        open_and_train(config, folder, accelerator, log)
    return folder.scores()


def open_and_train(config: RunConfig[Method], folder: RunFolder, accelerator: Accelerator, log: Log) -> None:
    """Open the data, and run every step that is not finished."""
    with processes.main_first():  # it looks through the data and meets the mistakes; the others find all in order
        run = Run(config, folder, open_stream(config, folder), accelerator, log)
        if launch.is_main():
            begin(run)
    with watched_workers(f"go on with `sats resume {folder.path}`, or start again with fewer by --workers"):
        if config.extends.checkpoint and not folder.scores():
            with enough_memory("the model to extend", MEASURE_SMALLER):
                finish_step(run, extension.opened(run))
            processes.wait()  # the others go on from what the main process wrote
        for step in run.stream.steps[len(folder.scores()) :]:
            with enough_memory(f"step {step.index}", TRAIN_SMALLER):
                memory.complete(run)  # a step taken over with --from, or finished just before a crash, has none yet
                train_step(run, step)


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """Turn a device that has not enough memory for ``what`` into a RunError that gives ``advice``."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(f"The device has not enough memory for {what} ({error}). {advice}") from error


def open_stream(config: RunConfig[Method], folder: RunFolder) -> Stream | Extension:
    """The stream, of whose first steps this run, or the one it goes on from, knows how they were learned."""
    written = folder if folder.step(0).exists() else started_from(config) or folder
    return build.build_stream(config, len(written.scores()), written.domains())


def begin(run: Run) -> None:
    """Write down what the run runs on and what it learns; take over the step, or the run, that --from names."""
    run.folder.write(ENVIRONMENT, json.dumps(environment(run.accelerator), indent=2) + "\n")
    adopt(run)
    write_steps(run)
    if run.skipped is not None:
        for problem in run.stream.skipped:
            run.skipped(problem)


def write_steps(run: Run) -> None:
    """Write down which classes each step learns, from which domains if they arrive, and from how many images."""
    learned = run.folder.steps()[: len(run.folder.scores())]  # stays as it was: those images may be gone
    run.folder.write(STEPS, described_steps(run, learned))


def train_step(run: Run, step: Step) -> None:
    """One step: grow the model, learn, measure, save."""
    seed_everything(run.config.seed, step.index, 0)
    model, state = starting_point(run, step)
    teacher = model.frozen_copy() if needs_teacher(run.method, step) else None
    if step.index > 0:
        model.grow(step, run.stream.new_names(step), run.method.init)
    model.to(run.accelerator.device).train()
    rehearse_transfer(model, run.method.attention_transfer)
    loader = dataclasses.replace(make_loader(run, step), exemplars=memory.exemplars(run, step))
    rehearse_batch(model, loader.micro_batch_size)
    material = f"{len(loader.samples)} images{memory.described(run, step)}"
    run.log.say(f"Step {step.index}: learning {', '.join(run.stream.brings(step))} on {material}")
    with processes.main_first():  # it removes broken checkpoints
        saved = saved_progress(run, step)
    if saved is None:
        start_new_rows(run, model, step, loader)
    prepare_model(run.method, model.train(), step)
    freeze_unused(model)

    run.log.begin_step(step.index, saved.iteration if saved else 0)
    if saved is not None:
        with putting_back(saved):
            model.load_state_dict(saved.model)
        state = to_device(run, saved.state)
    context = Context(step, model, teacher, state, processes.total, overrepresented(run, step, loader))
    if saved is None:
        recollection.prepare(run, context)
        with torch.no_grad(), run.accelerator.autocast():
            begin_step(run.method, context, OnePass(run, loader, f"step {step.index}, looking at the data"))
        seed_everything(run.config.seed, step.index, 1 + launch.rank())

    with switches.compiled(model, teacher) if run.config.train.compile else nullcontext():
        optimise(run, context, loader, saved)
    with torch.no_grad(), run.accelerator.autocast():
        end_step(run.method, context, OnePass(run, loader, f"step {step.index}, looking back"))
    recollection.gather(run, context, step)
    finish_step(run, context)
    processes.wait()  # the others go on from what the main process wrote
    memory.complete(run)


def overrepresented(run: Run, step: Step, loader: TrainLoader) -> float:
    """How many times as often the step's own images come in its batches as among all images learned from, at least.

    The steps' images may overlap, so that all together may be as few as those of the largest step.
    """
    most = max(described["images"] for described in run.folder.steps()[: step.index + 1])
    share = loader.new_per_batch / loader.batch_size
    return max(1.0, share * most / max(1, len(loader.samples)))


def saved_progress(run: Run, step: Step) -> Checkpoint | None:
    """The newest whole checkpoint of an interrupted step, if there is one."""
    saved, problems = load_newest(run.folder.checkpoints, run.folder.fingerprint(), step.index)
    for problem in problems:
        run.log.say(problem)
    if saved is not None:
        run.log.say(f"Going on after iteration {saved.iteration} of step {step.index}.")
    return saved


def to_device(run: Run, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors on the run's device."""
    return {name: tensor.to(run.accelerator.device) for name, tensor in tensors.items()}


def starting_point(run: Run, step: Step) -> tuple[Segmenter, dict[str, Tensor]]:
    """The model that ``step`` starts from, on the run's device, and the method's state."""
    if step.index == 0:
        model, state = build.first_model(run.config, run.stream), {}
    else:
        check_sums(run.folder.step(step.index - 1))
        model = finished_model(run, run.stream.steps[step.index - 1])
        stored = run.folder.step(step.index - 1) / STATE
        with reading(str(stored)):
            state = load_file(stored) if stored.is_file() else {}
    switches.arrange(model, run.config.train)
    return model.to(run.accelerator.device), to_device(run, state)


def finish_step(run: Run, context: Context) -> None:
    """Measure the step's model; then the main process saves everything that the next step and the reader need."""
    processes.average_buffers(context.model)  # once more: a method may have let the model see images in `end_step`
    with enough_memory(f"measuring step {context.step.index}", MEASURE_SMALLER):
        found = measure(run, context.model, context.step)
    if launch.is_main():
        save_step(run, context, found)


def save_step(run: Run, context: Context, found: Measurement) -> None:
    """Write the folder of a finished step: model, scores, confusion matrix, the method's state."""
    step, model, stream = context.step, context.model, run.stream
    history = run.folder.scores()
    scores = found.scores(model.classes, step.index, stream.num_first, history)
    with saving(run.folder.step(step.index)), run.folder.writing_step(step.index) as folder:
        save_model(model, folder / MODEL, run.config.train.resize)
        card = model_card(run.config, run.folder.steps(), [*history, scores])
        write_text(folder / MODEL / "README.md", card)
        if context.state:
            save_file({name: tensor.contiguous() for name, tensor in context.state.items()}, folder / STATE)
        write_sums(folder)
        confusion = {"classes": model.classes, "matrix": found.matrix.tolist()}
        if found.later is not None:
            confusion["matrix of later classes"] = found.later.tolist()
        write_text(folder / "confusion.json", json.dumps(confusion, ensure_ascii=False) + "\n")
        write_text(folder / SCORES, scores.to_json())
    run.folder.discard_checkpoints()
    if run.log.followers is not None:
        seen = {f"step {step.index}": Predictor(model, run.config.train.resize, run.method)}
        run.log.followers.scored(scores, lambda: draw_panel(run.config, stream, step, seen))
