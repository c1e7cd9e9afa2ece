"""The loop: one step after the other, in a straight line."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from sats.data.loader import evaluation_batches
from sats.engine import build
from sats.engine.log import Log, Position
from sats.engine.optim import make_optimizer, rate_factor, set_rates
from sats.engine.run_folder import SCORES, RunFolder, write_text
from sats.errors import RunError
from sats.evaluation.confusion import confusion_matrix
from sats.evaluation.scores import Scores, compute_scores
from sats.methods.base import all_losses, begin_step, needs_teacher
from sats.methods.context import Context
from sats.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.optim import Optimizer

    from sats.config import RunConfig
    from sats.data.loader import TrainLoader
    from sats.data.stream import Stream
    from sats.methods import Method
    from sats.models.segmenter import Segmenter
    from sats.types import Batch, Step

STATE = "state.safetensors"


@dataclass(frozen=True)
class Run:
    """What all steps of one run share."""

    config: RunConfig[Method]
    folder: RunFolder
    stream: Stream
    accelerator: Accelerator
    log: Log

    @property
    def method(self) -> Method:
        """The continual-learning method."""
        return self.config.method


def train(config: RunConfig[Method], folder: RunFolder, console: Log | None = None) -> list[Scores]:
    """Run every step of ``config`` in ``folder`` and return the scores after each.

    ValueError for settings or data that do not fit; RunError when a loss is no longer finite.
    """
    AcceleratorState._reset_state()  # noqa: SLF001 (else the precision of an earlier run in this process stays)
    accelerator = Accelerator(mixed_precision=config.train.precision)
    log = console or Log(folder.metrics_path, quiet=not accelerator.is_main_process)
    run = Run(config, folder, build.build_stream(config), accelerator, log)
    folder.write("environment.json", json.dumps(environment(accelerator), indent=2) + "\n")
    if config.start_from:
        adopt_step0(run, Path(config.start_from).expanduser())
    for step in run.stream.steps[len(folder.scores()) :]:
        train_step(run, step)
    return folder.scores()


def train_step(run: Run, step: Step) -> None:
    """One step: grow the model, learn, measure, save."""
    seed_everything(run.config.seed, step.index, 0)
    model, state = starting_point(run, step)
    teacher = model.frozen_copy() if needs_teacher(run.method, step) else None
    if step.index > 0:
        model.grow(step, run.stream.new_names(step), run.method.init)
    model.to(run.accelerator.device)
    run.method.prepare_model(model, step)
    context = Context(step, model, teacher, state, run.accelerator.reduce)

    loader = make_loader(run, step)
    run.log.say(f"Step {step.index}: learning {', '.join(run.stream.new_names(step))} on {len(loader.samples)} images")
    with torch.no_grad(), run.accelerator.autocast():
        begin_step(run.method, context, one_pass(run, loader, f"step {step.index}, looking at the data"))
    seed_everything(run.config.seed, step.index, 1 + run.accelerator.process_index)
    optimise(run, context, loader)
    with torch.no_grad(), run.accelerator.autocast():
        run.method.end_step(context, one_pass(run, loader, f"step {step.index}, looking back"))
    finish_step(run, context)


def starting_point(run: Run, step: Step) -> tuple[Segmenter, dict[str, Tensor]]:
    """The model that ``step`` starts from, on the run's device, and the method's state."""
    if step.index == 0:
        model, state = build.first_model(run.config, run.stream), {}
    else:
        previous = run.folder.step(step.index - 1)
        groups = [earlier.num_new for earlier in run.stream.steps[: step.index]]
        model = checkpoint.load(previous / "model", groups)
        state = load_file(previous / STATE) if (previous / STATE).is_file() else {}
    device = run.accelerator.device
    return model.to(device), {name: tensor.to(device) for name, tensor in state.items()}


def optimise(run: Run, context: Context, loader: TrainLoader) -> None:
    """Train the context's model over all epochs of the step."""
    config, accelerator, step = run.config, run.accelerator, context.step
    settings = config.train
    epochs = settings.epochs if step.index == 0 else settings.epochs_later or settings.epochs
    iterations = epochs * loader.iterations_per_epoch
    model, optimizer = accelerator.prepare(context.model, make_optimizer(context.model, config.optim, step.index))
    model.train()
    batches = loader.batches(0, iterations)
    logged = 0
    with run.log.progress(f"step {step.index}", iterations):
        for iteration in range(iterations):
            set_rates(optimizer, rate_factor(iteration, iterations, config.optim))
            epoch = iteration // loader.iterations_per_epoch
            position = Position(
                step=step.index, epoch=epoch, epochs=epochs, iteration=iteration + 1, iterations=iterations
            )
            terms = update(run, context, model, optimizer, [next(batches) for _ in range(settings.accumulation)])
            check_finite(terms, position)
            if position.iteration % settings.log_every == 0 or position.iteration == iterations:
                images = (position.iteration - logged) * settings.batch_size
                logged = position.iteration
                rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
                run.log.iteration(position, {name: term.item() for name, term in terms.items()}, rates, images)
            run.log.advance()
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    accelerator.free_memory()


def update(
    run: Run, context: Context, model: torch.nn.Module, optimizer: Optimizer, batches: list[Batch]
) -> dict[str, Tensor]:
    """One iteration over its micro-batches; returns the detached terms, their mean over the micro-batches."""
    accelerator = run.accelerator
    logged: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        last = number == len(batches) - 1
        with nullcontext() if last else accelerator.no_sync(model):
            terms = forward(run, context, model, batch)
            accelerator.backward(torch.stack(list(terms.values())).sum() / len(batches))
        for name, term in terms.items():
            logged[name] = logged.get(name, 0.0) + term.detach() / len(batches)
    apply(run, context, optimizer)
    return logged


def forward(run: Run, context: Context, model: torch.nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The loss terms of one micro-batch."""
    transfers = context.teacher is not None and run.method.attention_transfer.weight > 0
    taps = context.model.default_taps if transfers else ()
    with run.accelerator.autocast():
        with torch.no_grad():
            old = context.teacher(batch.images, taps) if context.teacher else None
        return all_losses(run.method, context, batch, model(batch.images, taps), old)


def apply(run: Run, context: Context, optimizer: Optimizer) -> None:
    """Let the method read the gradients, clip them, and update the weights."""
    accelerator, clip = run.accelerator, run.config.optim.clip
    accelerator.unscale_gradients(optimizer)
    run.method.after_backward(context)
    if clip:
        accelerator.clip_grad_norm_(context.model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()


def check_finite(terms: dict[str, Tensor], position: Position) -> None:
    """Stop, naming the term, when a loss is no longer a finite number."""
    if torch.stack(list(terms.values())).isfinite().all():
        return
    broken = ", ".join(f"{name} = {term.item()}" for name, term in terms.items() if not term.isfinite())
    raise RunError(
        f"The loss is no longer finite in step {position.step}, iteration {position.iteration}: {broken}. "
        "Lower --lr (or --lr-later), clip gradients with --optim.clip 1, or train with --train.precision no."
    )


def finish_step(run: Run, context: Context) -> None:
    """Measure the step's model and save everything that the next step and the reader need."""
    step, model, stream = context.step, context.model, run.stream
    config = run.config.evaluation
    samples = stream.test_samples(step, config.future)
    batches = evaluation_batches(
        samples,
        build.evaluation_transform(run.config),
        config.batch_size,
        build.workers(run.config, run.accelerator.device),
        run.accelerator.device,
    )
    total = -(-len(samples) // config.batch_size)
    followed = run.log.follow(batches, f"step {step.index}, measuring", total)
    matrix = confusion_matrix(model, followed, run.method.scores).numpy()
    scores = compute_scores(matrix, model.classes, step.index, stream.num_first, run.folder.scores())
    if not run.accelerator.is_main_process:
        return
    with run.folder.writing_step(step.index) as folder:
        checkpoint.save(model, folder / "model", run.config.train.resize)
        if context.state:
            save_file({name: tensor.contiguous() for name, tensor in context.state.items()}, folder / STATE)
        confusion = {"classes": model.classes, "matrix": matrix.tolist()}
        write_text(folder / "confusion.json", json.dumps(confusion, ensure_ascii=False) + "\n")
        write_text(folder / SCORES, scores.to_json())


def make_loader(run: Run, step: Step) -> TrainLoader:
    """This process's batches of ``step``."""
    accelerator = run.accelerator
    return build.train_loader(
        run.config, run.stream, step, accelerator.device, accelerator.process_index, accelerator.num_processes
    )


def one_pass(run: Run, loader: TrainLoader, title: str) -> Iterator[Batch]:
    """One pass over a step's data, under a progress bar; nothing is read unless somebody iterates."""
    total = -(-len(loader.samples) // (loader.micro_batch_size * loader.processes))
    return run.log.follow(loader.one_pass(), title, total)


def seed_everything(seed: int, step: int, part: int) -> None:
    """Seed torch's random state for a part of a step: what starts there does not depend on what ran before."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, part]).generate_state(1)[0]))


def adopt_step0(run: Run, source: Path) -> None:
    """Take over the finished step 0 of another run; ValueError if it is none, or was trained for other classes."""
    if run.method.data == "all":
        raise ValueError("Joint training learns everything in one step of its own: leave out --from.")
    if not (source / SCORES).is_file():
        raise ValueError(f"{source} is no finished step: --from takes the folder RUN/step-0 of a run.")
    other = RunFolder(source.parent).config().method
    if other.step0_key() != run.method.step0_key():
        raise ValueError(f"{source} was trained another way ({other.step0_key()}) than this method starts.")
    wanted = run.stream.names(run.stream.steps[0])
    stored = checkpoint.load(source / "model").classes
    if stored != wanted:
        raise ValueError(
            f"{source} knows the classes {', '.join(stored)}; this run's step 0 learns {', '.join(wanted)}."
        )
    with run.folder.writing_step(0) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def environment(accelerator: Accelerator) -> dict[str, object]:
    """What the run runs on."""
    packages = ("sats", "torch", "transformers", "accelerate", "numpy", "pillow")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }
