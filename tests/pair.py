"""What two or more processes do together, for test_processes.py: `python pair.py FOLDER [resumes|parts]` for each.

Everything goes into files below FOLDER; what is right is for the tests to say.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sats.cli import main
from sats.config import MemoryConfig, RunConfig
from sats.data.loader import EvaluationBatches, TrainLoader
from sats.engine import build, launch, loop, processes
from sats.engine.log import Log, Position
from sats.engine.loop import Learner, optimise, update
from sats.engine.measure import measure
from sats.engine.optim import make_optimizer
from sats.engine.pretune import pretune
from sats.engine.run import Run
from sats.engine.run_folder import RunFolder, create_run
from sats.engine.train import finish_step, train
from sats.errors import RunError
from sats.evaluation.confusion import confusion_matrix
from sats.methods import METHODS, Method, method_name
from sats.methods.base import begin_step, needs_teacher, prepare_model
from sats.methods.context import Context
from sats.methods.importance import IMPORTANCE
from sats.methods.pretuning import Pretuning
from sats.methods.pseudo_labelling import gather_thresholds
from sats.methods.sats import Sats
from sats.models.segformer import SIZES
from sats.models.segmenter import Segmenter
from sats.types import Step
from test_engine import Recorder, small
from test_resume import Interrupting

CLI = "--images 20 --data.image-size 32 --crop 32 --batch-size 6 --epochs 1 --epochs-later 1 --protocol 5-5"


class EvenStatistics(Sats):
    """SATS with running statistics that are plain means: the same however many processes gather them."""

    def prepare_model(self, model: Segmenter, step: Step) -> None:
        super().prepare_model(model, step)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None


def even_config(accumulation: int) -> RunConfig[Method]:
    """A run of SATS whose result does not depend on who learned which micro-batch.

    By SGD: AdamW moves a weight without gradient by the sign of its rounding errors.
    """
    METHODS["sats"], EvenStatistics.name = EvenStatistics, "sats"
    config = small("sats")
    train_settings = dataclasses.replace(config.train, accumulation=accumulation, epochs=2, epochs_later=2)
    optim = dataclasses.replace(config.optim, optimizer="sgd", lr=0.05, lr_later=0.02, clip=0)
    return dataclasses.replace(config, method=EvenStatistics(), train=train_settings, optim=optim)


def dropping_config() -> RunConfig[Method]:
    """A run with dropout and drop-path, a few iterations in each step."""
    SIZES["segformer-tiny"].update(drop_path_rate=0.2, classifier_dropout_prob=0.2)
    config = small("sats")
    return dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=2, epochs_later=3))


# --- parts of a step --------------------------------------------------------------------------------------------------


HALVES_ARE_EXACT = launch.world_size() <= 2
"""A mean over two is exact in single precision, one over three is not: there parts are compared in double."""


def prepared(config: RunConfig[Method], folder: Path) -> tuple[Run, Context]:
    torch.manual_seed(0)
    stream = build.build_stream(config)
    log = Log(folder / "metrics.jsonl", quiet=True)
    shared = Run(config, RunFolder(folder), stream, processes.make_accelerator("no"), log)
    model = build.first_model(config, stream)
    if not HALVES_ARE_EXACT:
        model.double().register_forward_pre_hook(in_double)
    return shared, Context(stream.steps[0], model, None, {}, processes.total)


def in_double(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Hands a model of double precision its images in that."""
    return (arguments[0].double(), *arguments[1:])


def grown(model: Segmenter, step: Step, names: tuple[str, ...], method: Method) -> None:
    """Let a model learn the classes of ``step``, in its own precision."""
    kind = model.classifier.weights[0].dtype
    model.grow(step, names, method.init)
    model.to(kind)


def own_loader(shared: Run, step: Step) -> TrainLoader:
    device = shared.accelerator.device
    return build.train_loader(shared.config, shared.stream, step, device, launch.rank(), launch.world_size())


def statistics(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def gradients(folder: Path) -> None:
    """An update that is shared; the same by this process alone, in as many micro-batches."""
    config = dataclasses.replace(small(), method=Recorder())
    shared, context = prepared(config, folder)
    optimizer = make_optimizer(context.model, config.optim, 0)
    learner = Learner(shared, context, *shared.accelerator.prepare(context.model, optimizer))
    update(learner, list(own_loader(shared, context.step).batches(0, 1)))
    save_file(context.state, folder / f"gradients-{launch.rank()}.safetensors")
    save_file(dict(context.model.named_parameters()), folder / f"weights-{launch.rank()}.safetensors")
    save_file(statistics(context.model), folder / f"statistics-{launch.rank()}.safetensors")
    processes.average_buffers(context.model)
    save_file(statistics(context.model), folder / f"averaged-{launch.rank()}.safetensors")

    whole, alone = prepared(config, folder)
    settings = dataclasses.replace(config.train, accumulation=launch.world_size())
    loader = build.train_loader(
        dataclasses.replace(config, train=settings), whole.stream, alone.step, torch.device("cpu"), 0, 1
    )
    optimizer = whole.accelerator.prepare(make_optimizer(alone.model, config.optim, 0))
    update(Learner(whole, alone, alone.model, optimizer), list(loader.batches(0, 1)))
    save_file(alone.state, folder / f"gradients-alone-{launch.rank()}.safetensors")


def counts(folder: Path) -> None:
    """The histogram of the teacher's entropies and the confusion matrix: shared, and by this process alone."""
    shared, context = prepared(small("sats"), folder)
    teacher = context.model.frozen_copy()
    step = shared.stream.steps[1]
    found: dict[str, Tensor] = {}

    def kept(name: str, add: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def total(tensor: Tensor) -> Tensor:
            found[name] = add(tensor)
            return found[name]

        return total

    mine = own_loader(shared, step)
    alone = dataclasses.replace(mine, process=0, processes=1, batch_size=mine.micro_batch_size)
    first = dataclasses.replace(mine.samples, indices=mine.samples.indices[:1])
    for name, loader in {"": mine, "one ": dataclasses.replace(mine, samples=first)}.items():
        gather_thresholds(
            Context(step, teacher, teacher, {}, kept(f"{name}shared", processes.total)), loader.one_pass()
        )
    for name, loader in {"": alone, "one ": dataclasses.replace(alone, samples=first)}.items():
        gather_thresholds(Context(step, teacher, teacher, {}, kept(f"{name}alone", lambda x: x)), loader.one_pass())

    for size in (2, 16):  # an odd number of batches; one batch alone, which leaves the second process none
        evaluation = dataclasses.replace(shared.config.evaluation, batch_size=size)
        config = dataclasses.replace(shared.config, evaluation=evaluation)
        matrix = measure(dataclasses.replace(shared, config=config), context.model, context.step).matrix
        found[f"matrix {size} shared"] = torch.from_numpy(matrix)
        samples = shared.stream.test_samples(context.step, evaluation.future)
        batches = EvaluationBatches(samples, build.evaluation_transform(config), size, 0, torch.device("cpu"))
        found[f"matrix {size} alone"] = confusion_matrix(context.model, batches)
    save_file(found, folder / f"counts-{launch.rank()}.safetensors")


def learning_twice(folder: Path) -> None:
    """One model is wrapped and trained twice, the first time with a part of it frozen; then the step is finished."""
    shared, context = prepared(small(), folder)
    shared.folder.write("config.json", "{}")
    loader = own_loader(shared, context.step)
    encoder = context.model.network.segformer
    before = [parameter.clone() for parameter in encoder.parameters()]
    encoder.requires_grad_(requires_grad=False)
    optimise(shared, context, loader, None)
    frozen = all(map(torch.equal, encoder.parameters(), before))
    encoder.requires_grad_(requires_grad=True)
    optimise(shared, context, loader, None)
    moved = not any(map(torch.equal, encoder.parameters(), before))
    note(folder, "twice", {"frozen": frozen, "moved": moved})
    save_file(context.model.state_dict(), folder / f"twice-{launch.rank()}.safetensors")
    with torch.no_grad():  # a look back that leaves traces, another in each process
        context.model.train()(torch.rand(2, 3, 32, 32) + launch.rank())
    finish_step(shared, context)
    save_file(context.model.state_dict(), folder / f"finished-{launch.rank()}.safetensors")


def every_method(folder: Path) -> None:
    """For each method the first update of step 1: shared, and by this process alone in as many micro-batches."""
    for name, kind in METHODS.items():
        if kind.data == "stream":
            for who, number in (("shared", launch.world_size()), ("alone", 1)):
                after = after_an_update(small(name), folder, launch.world_size() // number, number)
                save_file(after, folder / f"{name}-{who}-{launch.rank()}.safetensors")


def after_an_update(config: RunConfig[Method], folder: Path, accumulation: int, number: int) -> dict[str, Tensor]:
    """How far the first update of step 1 moves the weights, by ``number`` processes, and what the method remembers."""
    method = config.method
    optim = dataclasses.replace(config.optim, optimizer="sgd", lr_later=0.01)
    shared, first = prepared(dataclasses.replace(config, optim=optim), folder)
    model, step = first.model, shared.stream.steps[1]
    prepare_model(method, model.train(), first.step)
    whole = build.train_loader(shared.config, shared.stream, first.step, torch.device("cpu"), 0, 1)
    with torch.no_grad():
        begin_step(method, first, whole.one_pass())
    update(learner(shared, first, wrapped=False), list(whole.batches(0, 1)))
    with torch.no_grad():
        method.end_step(first, whole.one_pass())
    teacher = model.frozen_copy() if needs_teacher(method, step) else None
    grown(model, step, shared.stream.new_names(step), method)
    prepare_model(method, model.train(), step)
    context = Context(step, model, teacher, first.state, processes.total if number > 1 else lambda counts: counts)
    train_settings = dataclasses.replace(config.train, accumulation=accumulation)
    config = dataclasses.replace(shared.config, train=train_settings)
    process = launch.rank() if number > 1 else 0
    mine = build.train_loader(config, shared.stream, step, torch.device("cpu"), process, number)
    with torch.no_grad():
        begin_step(method, context, mine.one_pass())
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    update(learner(shared, context, wrapped=number > 1), list(mine.batches(0, 1)))
    moved = {f"moved {name}": parameter.detach() - before[name] for name, parameter in model.named_parameters()}
    return {**moved, **{f"state {name}": value.contiguous() for name, value in context.state.items()}}


def importances(folder: Path) -> None:
    """Every importance after a step of three updates: shared, and by this process alone in as many micro-batches."""
    for method in (METHODS["ewc"](), METHODS["pi"](), METHODS["rw"](every=1)):
        for who, number in (("shared", launch.world_size()), ("alone", 1)):
            found = importances_of(method, folder, number)
            save_file(found, folder / f"importances-{method_name(method)}-{who}-{launch.rank()}.safetensors")


def importances_of(method: Method, folder: Path, number: int) -> dict[str, Tensor]:
    """What ``method`` holds parameters by in step 1, after ``number`` processes learned step 0."""
    config = dataclasses.replace(small(), method=method)
    settings = dataclasses.replace(config.train, accumulation=launch.world_size() // number)
    optim = dataclasses.replace(config.optim, optimizer="sgd", lr=0.01)
    shared, first = prepared(dataclasses.replace(config, optim=optim, train=settings), folder)
    total = processes.total if number > 1 else lambda counts: counts
    process = launch.rank() if number > 1 else 0

    def loader(step: Step) -> TrainLoader:
        return build.train_loader(shared.config, shared.stream, step, torch.device("cpu"), process, number)

    context = dataclasses.replace(first, sum_over_processes=total)
    model, step = context.model, shared.stream.steps[1]
    prepare_model(method, model.train(), first.step)
    with torch.no_grad():
        begin_step(method, context, loader(first.step).one_pass())
    learning = learner(shared, context, wrapped=number > 1)
    batches = loader(first.step).batches(0, 3)
    for _ in range(3):
        update(learning, [next(batches) for _ in range(settings.accumulation)])
    with torch.no_grad():
        method.end_step(context, loader(first.step).one_pass())
        grown(model, step, shared.stream.new_names(step), method)
        begin_step(method, dataclasses.replace(context, step=step), loader(step).one_pass())
    return {name: value.contiguous() for name, value in context.state.items() if name.startswith(IMPORTANCE)}


def exemplars(folder: Path) -> None:
    """A whole run with a memory that asks the model which classes it sees."""
    config = small("sats", memory=MemoryConfig(size=7, selection="ssul"))
    assert config.memory.asks_the_model
    train(config, new_run(folder / "remembering", config))


def learner(run: Run, context: Context, wrapped: bool) -> Learner:
    optimizer = make_optimizer(context.model, run.config.optim, context.step.index)
    if wrapped:
        return Learner(run, context, *run.accelerator.prepare(context.model, optimizer))
    return Learner(run, context, context.model, run.accelerator.prepare_optimizer(optimizer))


def pretuning(folder: Path) -> None:
    """New rows are tuned before step 1; what the model is afterwards."""
    method = METHODS["mib"](init="nest", pretuning=Pretuning(epochs=2, distillation=10.0))
    shared, context = prepared(dataclasses.replace(small("mib"), method=method), folder)
    model, step = context.model, shared.stream.steps[1]
    grown(model, step, shared.stream.new_names(step), method)
    started = model.classifier.weights[1].detach().clone()
    pretune(shared, model, step, own_loader(shared, step))
    save_file({**model.state_dict(), "started": started}, folder / f"pretuned-{launch.rank()}.safetensors")


# --- whole runs -------------------------------------------------------------------------------------------------------


def new_run(folder: Path, config: RunConfig[Method]) -> RunFolder:
    if launch.is_main():
        create_run(folder, config)
    processes.wait()
    return RunFolder(folder)


def runs(folder: Path) -> None:
    """A whole run; one with dropout; the same, stopped twice by a signal to the second process alone, and resumed."""
    config = even_config(accumulation=1)
    train(config, new_run(folder / "even", config))
    config = dropping_config()
    train(config, new_run(folder / "whole", config))

    run = new_run(folder / "stopped", config)
    stops = [interrupted(config, run, at) for at in (3, 5)]
    note(folder, "stops", stops)
    train(config, run)

    run = new_run(folder / "one process goes on", config)
    interrupted(config, run, 3)
    train(config, RunFolder(folder / "two processes go on"))  # the test interrupted it


def interrupted(config: RunConfig[Method], run: RunFolder, at: int) -> list[str]:
    """Stop the second process after the bar's ``at``-th move; the checkpoints that are there afterwards."""
    log = Interrupting(run.metrics_path, quiet=True) if launch.rank() == 1 else Log(run.metrics_path)
    if isinstance(log, Interrupting):
        log.at = at
    try:
        train(config, run, log)
    except KeyboardInterrupt:
        return sorted(path.name for path in run.checkpoints.iterdir())
    return ["was not stopped"]


class StoppingInStep1(Log):
    """A log that presses Ctrl-C, in the second process alone, after the second update of step 1."""

    def iteration(
        self, position: Position, losses: dict[str, float], rates: dict[str, float], images: int, memory: int
    ) -> None:
        super().iteration(position, losses, rates, images, memory)
        if launch.rank() == 1 and (position.step, position.iteration) == (1, 2):
            signal.raise_signal(signal.SIGINT)


def resumes(folder: Path) -> None:
    """A whole run of each method; the same, stopped within step 1 and resumed."""
    for name, kind in METHODS.items():
        if kind.data == "stream":
            config = small(name)
            config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs_later=2))
            train(config, new_run(folder / name / "whole", config))
            run = new_run(folder / name / "cut", config)
            log = StoppingInStep1(run.metrics_path, quiet=not launch.is_main())
            with contextlib.suppress(KeyboardInterrupt):
                train(config, run, log)
            note(folder / name, "stopped", [path.name for path in run.checkpoints.iterdir()])
            processes.wait()
            train(config, run)


def cached(folder: Path) -> None:
    """A run that keeps what its frozen encoder makes of images; the same, stopped within step 1 and resumed."""
    config = small("mib")
    train_settings = dataclasses.replace(config.train, epochs_later=3, scale=(1.0, 1.0), feature_cache=10)
    config = dataclasses.replace(config, method=METHODS["mib"](frozen_encoder=True), train=train_settings)
    train(config, new_run(folder / "cached", config))
    run = new_run(folder / "cached and stopped", config)
    with contextlib.suppress(KeyboardInterrupt):
        train(config, run, StoppingInStep1(run.metrics_path, quiet=not launch.is_main()))
    note(folder, "cached", [path.name for path in run.checkpoints.iterdir()])
    processes.wait()
    train(config, run)


# --- the command ------------------------------------------------------------------------------------------------------


def commands(folder: Path) -> None:
    """`sats train`, `sats resume` on what is finished, a help text: exit codes, and what each process says."""
    out = folder / "by command"
    said = {}
    for name, words in {
        "train": ["train", "scenes", *CLI.split(), "--out", str(out)],
        "resume": ["resume", str(out)],
        "help": ["train", "--help"],
    }.items():
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                code: object = main(words)
            except SystemExit as done:
                code = done.code
        said[name] = {"code": code, "stdout": stdout.getvalue(), "stderr": stderr.getvalue()}
    note(folder, "commands", said)


def failing(folder: Path) -> None:
    """`sats train` of which the second process alone fails, in its second iteration: the end of both."""
    calls = []

    def fail(*_: object) -> None:
        calls.append(1)
        if launch.rank() == 1 and len(calls) == 2:
            raise RunError("The second process has trouble of its own.")

    loop.check_finite = fail
    sys.exit(main(["train", "scenes", *CLI.split(), "--out", str(folder / "failing")]))


def note(folder: Path, name: str, value: object) -> None:
    (folder / f"{name}-{launch.rank()}.json").write_text(json.dumps(value))


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    processes.join()
    parts = (gradients, counts, every_method, importances, exemplars)
    everything = (*parts, pretuning, learning_twice, runs, cached, commands, failing)
    asked = {"": everything, "parts": parts, "resumes": (resumes,)}
    for check in asked["".join(sys.argv[2:])]:
        check(Path(sys.argv[1]))
