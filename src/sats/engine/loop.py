"""A step's iterations, and how they are stopped and taken up again."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from sats.engine import checkpoint, launch, processes
from sats.engine.environment import memory_in_use
from sats.engine.frozen_encoder import FrozenEncoder, frozen_encoder
from sats.engine.interrupt import deferred_interrupts
from sats.engine.log import Position
from sats.engine.optim import make_optimizer, rate_factor, set_rates
from sats.engine.run import seed_everything
from sats.errors import RunError
from sats.files import saving
from sats.methods.base import all_losses

if TYPE_CHECKING:
    from accelerate.optimizer import AcceleratedOptimizer
    from torch import Tensor

    from sats.data.loader import TrainLoader
    from sats.engine.checkpoint import Checkpoint
    from sats.engine.run import Run
    from sats.methods.context import Context
    from sats.types import Batch

ADVICE = "Lower --lr (or --lr-later), clip gradients with --optim.clip 1, or train with --train.precision no."


@dataclass(frozen=True)
class Learner:
    """A step in training: the model as accelerate wraps it, its optimizer, and the encoder where it is frozen."""

    run: Run
    context: Context
    model: torch.nn.Module
    optimizer: AcceleratedOptimizer
    encoder: FrozenEncoder = field(default_factory=FrozenEncoder)


def optimise(run: Run, context: Context, loader: TrainLoader, saved: Checkpoint | None) -> None:
    """Train the context's model over all epochs of the step, from where ``saved`` left off.

    KeyboardInterrupt when somebody asked to stop; a checkpoint is written before. RunError when a loss is not finite.
    """
    settings, step = run.config.train, context.step
    epochs = settings.epochs_of(step.index)
    iterations = epochs * loader.iterations_per_epoch
    refresh_scaler(run)
    bare = make_optimizer(context.model, run.config.optim, step.index)
    encoder = frozen_encoder(run, context, loader)
    model, optimizer = run.accelerator.prepare(context.model, bare)
    learner = Learner(run, context, model, optimizer, encoder)
    start = restore(learner, saved) if saved else 0
    logged, written = start, time.monotonic()
    with (
        closing(loader.batches(start, iterations)) as batches,  # else its processes live as long as an error is kept
        deferred_interrupts() as stop,
        run.log.progress(f"step {step.index}", iterations, start),
    ):
        for iteration in range(start, iterations):
            set_rates(learner.optimizer, rate_factor(iteration, iterations, run.config.optim))
            terms = update(learner, [next(batches) for _ in range(settings.accumulation)])
            epoch = iteration // loader.iterations_per_epoch
            position = Position(
                step=step.index, epoch=epoch, epochs=epochs, iteration=iteration + 1, iterations=iterations
            )
            check_finite(terms, position)
            if position.is_logged(settings.log_every):
                log(learner, position, terms, images=(position.iteration - logged) * settings.batch_size)
                logged = position.iteration
            run.log.advance()
            overdue = time.monotonic() - written >= 60 * settings.checkpoint_minutes
            stopping, overdue = processes.agree(stop.asked, overdue)
            if stopping or overdue or position.iteration == iterations:
                save(learner, position)
                written = time.monotonic()
            if stopping:
                raise KeyboardInterrupt
    processes.average_buffers(context.model)
    run.accelerator.unwrap_model(learner.model, keep_fp32_wrapper=False)  # takes its wrapper off the model's forward
    run.accelerator.free_memory()


def refresh_scaler(run: Run) -> None:
    """A gradient scaler of its own for each fp16 step, so that a step does not depend on those before."""
    if run.accelerator.scaler is not None:
        run.accelerator.scaler = torch.amp.GradScaler(run.accelerator.device.type)


def update(learner: Learner, batches: list[Batch]) -> dict[str, Tensor]:
    """One iteration over its micro-batches; returns the detached terms, their mean over the micro-batches."""
    accelerator = learner.run.accelerator
    logged: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        last = number == len(batches) - 1
        with nullcontext() if last else accelerator.no_sync(learner.model):
            terms = forward(learner, batch)
            accelerator.backward(torch.stack(list(terms.values())).sum() / len(batches))
        for name, term in terms.items():
            logged[name] = logged.get(name, 0.0) + term.detach() / len(batches)
    apply_gradients(learner)
    return logged


def forward(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The loss terms of one micro-batch."""
    context, method = learner.context, learner.run.method
    taps = method.attention_transfer.taps(context.model) if context.teacher is not None else ()
    with learner.run.accelerator.autocast():
        with learner.encoder.encoded(batch.images):
            with torch.no_grad():
                old = context.teacher(batch.images, taps) if context.teacher else None
            new = learner.model(batch.images, taps)
        return all_losses(method, context, batch, new, old)


def apply_gradients(learner: Learner) -> None:
    """Let the method read the gradients, clip them, and update the weights."""
    accelerator, clip = learner.run.accelerator, learner.run.config.optim.clip
    accelerator.unscale_gradients(learner.optimizer)
    learner.run.method.after_backward(learner.context)
    if clip:  # torch's own: accelerate's would unscale a second time
        torch.nn.utils.clip_grad_norm_(learner.context.model.parameters(), clip)
    learner.optimizer.step()
    learner.optimizer.zero_grad()


def log(learner: Learner, position: Position, terms: dict[str, Tensor], images: int) -> None:
    """Write down the terms, their mean over all processes, and the learning rates of an iteration."""
    rates = {group["name"]: group["lr"] for group in learner.optimizer.param_groups}
    values = processes.mean(torch.stack(list(terms.values()))).tolist()
    memory = memory_in_use(learner.run.accelerator.device)
    learner.run.log.iteration(position, dict(zip(terms, values, strict=True)), rates, images, memory)


def save(learner: Learner, position: Position) -> None:
    """Write a checkpoint after the iteration at ``position``: the main process does, and the others wait."""
    check_weights(learner.context.model, position)  # else the run would go on from what is lost
    own = processes.gather(checkpoint.own_state(learner.context.model))
    if launch.is_main():
        write(learner, position, own[1:])
    processes.wait()


def write(learner: Learner, position: Position, others: list[dict[str, Tensor]]) -> None:
    """Write a checkpoint; ``others`` is what the other processes have of their own."""
    run, context = learner.run, learner.context
    scaler = run.accelerator.scaler
    optimizer = {
        "optimizer": learner.optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
    }
    state = checkpoint.Checkpoint(
        run=run.folder.fingerprint(),
        step=position.step,
        iteration=position.iteration,
        model=context.model.state_dict(),
        optimizer=optimizer,
        state=context.state,
        random=checkpoint.random_states(),
        others=tuple(others),
    )
    with saving(run.folder.checkpoints):
        checkpoint.save(state, run.folder.checkpoints)


def restore(learner: Learner, saved: Checkpoint) -> int:
    """Put optimizer and random states back as they were; returns the iteration to go on with.

    The model and the method's state are loaded before, as they decide what the optimizer holds.
    """
    with checkpoint.putting_back(saved):
        learner.optimizer.load_state_dict(saved.optimizer["optimizer"])
        scaler = learner.run.accelerator.scaler
        if scaler is not None:
            scaler.load_state_dict(saved.optimizer["scaler"])
        restore_own(learner, saved)
    return saved.iteration


def restore_own(learner: Learner, saved: Checkpoint) -> None:
    """Put back what this process had of its own; with another number of processes, make it anew."""
    run, context, process = learner.run, learner.context, launch.rank()
    if saved.processes != launch.world_size():
        run.log.say(
            f"The checkpoint is of {saved.processes} process(es), now there are {launch.world_size()}: the batches "
            "stay the same, but batch norm sees other shares of them, and dropout draws anew."
        )
        checkpoint.share_anew(context.model, saved)
        seed_everything(run.config.seed, context.step.index, 1 + process, saved.iteration)
    elif process == 0:  # the model has its running statistics
        checkpoint.restore_random(saved.random)
    else:
        checkpoint.restore_own(context.model, saved.others[process - 1])


def check_weights(model: torch.nn.Module, position: Position) -> None:
    """Stop, naming the first, when weights are no longer finite: a gradient was not, though the loss was."""
    tensors = dict(model.state_dict())
    if torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).all():
        return
    broken = next(name for name, tensor in tensors.items() if not tensor.isfinite().all())
    raise RunError(
        f"Weights are no longer finite in step {position.step} after iteration {position.iteration}: {broken}. "
        f"{ADVICE} Go on from the checkpoint before with `sats resume`, or start again."
    )


def check_finite(terms: dict[str, Tensor], position: Position) -> None:
    """Stop, naming the term, when a loss is no longer a finite number."""
    if torch.stack(list(terms.values())).isfinite().all():
        return
    broken = ", ".join(f"{name} = {term.item()}" for name, term in terms.items() if not term.isfinite())
    raise RunError(
        f"The loss is no longer finite in step {position.step}, iteration {position.iteration}: {broken}. {ADVICE}"
    )
