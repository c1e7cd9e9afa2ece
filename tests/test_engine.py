"""The loop: rates, accumulation, determinism, starting from another run, failing clearly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file

from sats.config import EvaluationConfig, RunConfig, StreamConfig
from sats.engine import build
from sats.engine.log import Log
from sats.engine.loop import Learner, optimise, update
from sats.engine.optim import make_optimizer
from sats.engine.rehearsal import freeze_unused, rehearse_transfer
from sats.engine.run import Run
from sats.engine.run_folder import RunFolder, create_run, unused_folder
from sats.engine.train import train
from sats.errors import RunError
from sats.evaluation.scores import Scores
from sats.methods import METHODS, Method, method_name
from sats.methods.attention_transfer import AttentionTransfer
from sats.methods.context import Context
from sats.methods.finetune import Finetune
from sats.recipes import recipe
from sats.types import Batch


def small(method: str = "finetune", **changes: object) -> RunConfig[Method]:
    """The scenes recipe, small enough for a second or two: two steps of a few iterations."""
    config = recipe("scenes", method)
    train_settings = dataclasses.replace(config.train, epochs=1, epochs_later=1, batch_size=6, crop=32, log_every=1)
    settings = {
        "data": dataclasses.replace(config.data, images=20, image_size=32),
        "stream": dataclasses.replace(config.stream, protocol="5-5"),
        "train": train_settings,
        **changes,
    }
    return dataclasses.replace(config, **settings)


def run(folder: Path, config: RunConfig[Method]) -> list[Scores]:
    created = create_run(folder, config)
    return train(config, created, Log(created.metrics_path, quiet=False))


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / f"step-{step}" / "model" / "model.safetensors")


def same_weights(first: Path, second: Path, step: int) -> bool:
    one, two = weights(first, step), weights(second, step)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# --- one update -------------------------------------------------------------------------------------------------------


class Recorder(Finetune):
    """Fine-tuning that keeps a copy of the gradients it is shown."""

    def after_backward(self, context: Context) -> None:
        for name, parameter in context.model.named_parameters():
            assert parameter.grad is not None
            context.state[name] = parameter.grad.clone()


def prepared(config: RunConfig[Method], tmp_path: Path) -> tuple[Run, Context]:
    torch.manual_seed(0)
    stream = build.build_stream(config)
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    shared = Run(config, RunFolder(tmp_path), stream, Accelerator(cpu=True), log)
    return shared, Context(stream.steps[0], build.first_model(config, stream), None, {})


def test_accumulated_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    gradients = []
    for accumulation in (1, 3):
        config = small()
        settings = dataclasses.replace(config.train, accumulation=accumulation)
        config = dataclasses.replace(config, method=Recorder(), train=settings)
        shared, context = prepared(config, tmp_path)
        context.model.eval()  # batch norm and dropout see single micro-batches otherwise
        loader = build.train_loader(config, shared.stream, context.step, torch.device("cpu"), 0, 1)
        optimizer = make_optimizer(context.model, config.optim, 0)
        optimizer = shared.accelerator.prepare(optimizer)
        update(Learner(shared, context, context.model, optimizer), list(loader.batches(0, 1)))
        gradients.append(context.state)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_methods_see_gradients_before_clipping(tmp_path: Path) -> None:
    config = small(method="finetune")
    optim = dataclasses.replace(config.optim, clip=1e-6, optimizer="sgd", lr=1.0, momentum=0, weight_decay=0)
    config = dataclasses.replace(config, method=Recorder(), optim=optim)
    shared, context = prepared(config, tmp_path)
    before = [parameter.detach().clone() for parameter in context.model.parameters()]
    loader = build.train_loader(config, shared.stream, context.step, torch.device("cpu"), 0, 1)
    optimizer = shared.accelerator.prepare(make_optimizer(context.model, config.optim, 0))
    update(Learner(shared, context, context.model, optimizer), list(loader.batches(0, 1)))
    seen = torch.stack([gradient.norm() for gradient in context.state.values()]).norm()
    moved = [new - old for new, old in zip(context.model.parameters(), before, strict=True)]
    assert seen > 1e-3
    assert torch.stack([change.norm() for change in moved]).norm() <= 1.1e-6


def test_scaled_gradients_are_unscaled_once_and_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of fp16 training, with a scaler as on a GPU: the update is the same as without one."""
    results = []
    for scaled in (False, True):
        config = small()
        optim = dataclasses.replace(config.optim, clip=0.1, optimizer="sgd", lr=1.0, momentum=0, weight_decay=0)
        config = dataclasses.replace(config, method=Recorder(), optim=optim)
        shared, context = prepared(config, tmp_path)
        if scaled:
            shared.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
            shared.accelerator.native_amp = True
            monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
            monkeypatch.setattr(shared.accelerator, "autocast", nullcontext)  # but computed in float32
        loader = build.train_loader(config, shared.stream, context.step, torch.device("cpu"), 0, 1)
        optimizer = shared.accelerator.prepare(make_optimizer(context.model, config.optim, 0))
        update(Learner(shared, context, context.model, optimizer), list(loader.batches(0, 1)))
        results.append((context.state, [parameter.detach() for parameter in context.model.parameters()]))
    for name, gradient in results[0][0].items():
        torch.testing.assert_close(results[1][0][name], gradient, rtol=1e-4, atol=1e-6)
    for plain, unscaled in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(unscaled, plain, rtol=1e-4, atol=1e-6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exploding(Finetune):
    """Fine-tuning whose loss is not a number from the third iteration on."""

    def losses(self, context, batch, targets, student, teacher):  # type: ignore[no-untyped-def]  # as the base
        terms = super().losses(context, batch, targets, student, teacher)
        context.state["calls"] = context.state.get("calls", torch.zeros(())) + 1
        return {**terms, "oops": student.logits.mean() * (torch.inf if context.state["calls"] > 2 else 0.0)}


def test_a_loss_that_is_not_finite_stops_the_run_and_names_it(tmp_path: Path) -> None:
    config = dataclasses.replace(small(), method=Exploding())
    shared, context = prepared(config, tmp_path)
    loader = build.train_loader(config, shared.stream, context.step, torch.device("cpu"), 0, 1)
    long = dataclasses.replace(loader, samples=shared.stream.train_samples(context.step), batch_size=3)
    with pytest.raises(RunError, match=r"step 0, iteration 3: oops = "):
        optimise(shared, context, long, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting(Finetune):
    """Fine-tuning that counts the images it may look at before a step."""

    def begin_step(self, context: Context, loader: Iterable[Batch]) -> None:
        context.state["images"] = torch.tensor(sum(len(batch.images) for batch in loader))


def test_a_method_sees_all_images_before_a_step_also_after_others_have_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attention transfer's thresholds are gathered first, from the same images."""
    monkeypatch.setattr(Counting, "name", "counting")
    monkeypatch.setitem(METHODS, "counting", Counting)
    method = Counting(attention_transfer=AttentionTransfer(weight=20.0))
    run(tmp_path / "run", dataclasses.replace(small(), method=method))
    for index, step in enumerate(RunFolder(tmp_path / "run").steps()):
        state = load_file(tmp_path / "run" / f"step-{index}" / "state.safetensors")
        assert state["images"] == step["images"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optimise", r"not enough memory for step 0 \(too much\). Lower --batch-size or --crop"),
        ("measure", r"not enough memory for measuring step 0 \(too much\). Lower --evaluation.batch-size"),
    ],
)
def test_want_of_memory_says_what_to_lower(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(f"sats.engine.train.{name}", failing)
    with pytest.raises(RunError, match=message):
        run(tmp_path / "run", small())


def test_two_methods_cannot_have_one_name() -> None:
    class Mine(Finetune, name="a test's own"):
        pass

    try:
        with pytest.raises(ValueError, match=r"is called .* already: choose another name"):

            class Other(Finetune, name="a test's own"):
                pass

        with pytest.raises(ValueError, match="Counting has no name"):
            method_name(Counting())
    finally:
        del METHODS["a test's own"]


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sats_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sats"
    run(folder, small("sats"))
    return folder


def test_a_run_leaves_what_the_next_reader_needs(sats_run: Path) -> None:
    folder = RunFolder(sats_run)
    assert folder.config() == small("sats")
    assert [scores.step for scores in folder.scores()] == [0, 1]
    last = folder.scores()[1]
    assert len(last.classes) == 11
    assert last.miou["new"] is not None
    matrix = json.loads((sats_run / "step-1" / "confusion.json").read_text())
    assert matrix["classes"] == list(last.classes)
    assert sum(map(sum, matrix["matrix"])) == sum(last.pixels.values()) == 5 * 32 * 32
    lines = [json.loads(line) for line in (sats_run / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {0, 1}
    assert set(lines[-1]["losses"]) == {"cross_entropy", "distillation", "attention"}
    assert lines[-1]["total"] == pytest.approx(sum(lines[-1]["losses"].values()))
    assert set(lines[-1]["lr"]) == {"encoder", "decoder", "classifier"}
    assert "packages" in json.loads((sats_run / "environment.json").read_text())
    assert (sats_run / "step-1" / "state.safetensors").is_file()
    assert not list(sats_run.glob("*tmp*"))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores: on purpose
@pytest.mark.parametrize("workers", [1, 4])
def test_the_same_settings_give_the_same_weights_on_any_number_of_workers(
    workers: int, sats_run: Path, tmp_path: Path
) -> None:
    config = small("sats")
    assert json.loads((sats_run / "config.json").read_text())["train"]["workers"] == -1  # on a CPU none
    run(tmp_path / "again", dataclasses.replace(config, train=dataclasses.replace(config.train, workers=workers)))
    for step in (0, 1):
        assert same_weights(sats_run, tmp_path / "again", step)
    assert RunFolder(sats_run).scores() == RunFolder(tmp_path / "again").scores()


def test_another_seed_gives_other_weights(sats_run: Path, tmp_path: Path) -> None:
    run(tmp_path / "other", dataclasses.replace(small("sats"), seed=1))
    assert not same_weights(sats_run, tmp_path / "other", 0)


def test_starting_from_a_step_0_is_as_good_as_training_it(sats_run: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(small("sats"), start_from=str(sats_run / "step-0"))
    scores = run(tmp_path / "from", config)
    assert same_weights(sats_run, tmp_path / "from", 1)
    assert scores == RunFolder(sats_run).scores()


def test_methods_share_a_step_0(sats_run: Path, tmp_path: Path) -> None:
    run(tmp_path / "finetune", dataclasses.replace(small("finetune"), start_from=str(sats_run / "step-0")))
    assert same_weights(sats_run, tmp_path / "finetune", 0)
    assert not same_weights(sats_run, tmp_path / "finetune", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_from": "{run}"}, "bring a folder for the next with --step DIR"),
        ({"start_from": "{run}/step-0", "method": METHODS["joint"]()}, "leave out --from"),
        ({"start_from": "{run}/step-0", "order_seed": 3}, "knows the classes"),
        ({"start_from": "{run}/step-0", "setting": "disjoint"}, "stream.setting"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    sats_run: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    changes = {"start_from": str(change["start_from"]).format(run=sats_run)}
    config = dataclasses.replace(small("sats"), **changes)
    if "method" in change:
        config = dataclasses.replace(config, method=change["method"])
    for name in ("order_seed", "setting"):
        if name in change:
            stream = dataclasses.replace(config.stream, **{name: change[name]})
            config = dataclasses.replace(config, stream=stream)
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", config)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 1}, "made with seed 0, this run has 1"), ({"protocol": "5-1"}, "made with stream.protocol '5-5'")],
)
def test_a_step_0_of_another_deal_of_images_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    """Partitioned, the images are dealt to all steps at once: step 0 may have seen those of later ones."""
    config = small("finetune")
    data = dataclasses.replace(config.data, images=60)
    config = dataclasses.replace(config, data=data, stream=StreamConfig(protocol="5-5", setting="partitioned"))
    run(tmp_path / "first", config)
    same = dataclasses.replace(config, start_from=str(tmp_path / "first" / "step-0"))
    run(tmp_path / "same", same)
    if "protocol" in change:
        change = {"stream": dataclasses.replace(config.stream, **change)}
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "other", dataclasses.replace(same, **change))


def test_joint_training_is_one_step_scored_by_the_protocol(tmp_path: Path) -> None:
    (scores,) = run(tmp_path / "joint", small("joint"))
    assert len(scores.classes) == 11
    assert scores.miou["new"] is not None


@pytest.mark.parametrize("setting", ["disjoint", "sequential", "partitioned"])
def test_every_setting_trains(tmp_path: Path, setting: str) -> None:
    config = small("sats")
    data = dataclasses.replace(config.data, images=60)
    stream = dataclasses.replace(config.stream, setting=setting)
    assert len(run(tmp_path / setting, dataclasses.replace(config, data=data, stream=stream))) == 2


def test_evaluation_by_crops_without_the_future(tmp_path: Path) -> None:
    config = small("finetune")
    evaluation = dataclasses.replace(config.evaluation, mode="crop", future="ignore")
    scores = run(tmp_path / "run", dataclasses.replace(config, evaluation=evaluation))
    assert sum(scores[1].pixels.values()) == 5 * 32 * 32
    assert sum(scores[0].pixels.values()) < 5 * 32 * 32


def test_a_full_disk_is_one_sentence_and_keeps_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    config = small("sats")
    folder = create_run(tmp_path / "run", config)
    with monkeypatch.context() as patch:
        patch.setattr("sats.engine.train.save_file", full)  # the method's state, after the model of step 1
        with pytest.raises(RunError, match=r"step-1 cannot be written .*No space left.*sats resume"):
            train(config, folder, Log(folder.metrics_path))
    assert [scores.step for scores in folder.scores()] == [0]
    assert len(train(config, folder, Log(folder.metrics_path))) == 2


def test_mixed_precision_trains_and_leaves_float32_weights(tmp_path: Path) -> None:
    config = small("sats")
    mixed = dataclasses.replace(config, train=dataclasses.replace(config.train, precision="bf16"))
    run(tmp_path / "bf16", mixed)
    assert {tensor.dtype for tensor in weights(tmp_path / "bf16", 1).values()} == {torch.float32, torch.int64}


# --- run folders ------------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    create_run(tmp_path / "run", small())
    with pytest.raises(ValueError, match=r"holds an unfinished run.*sats resume"):
        create_run(tmp_path / "run", small())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="not an empty folder"):
        create_run(tmp_path / "other", small())
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file"):
        create_run(tmp_path / "file" / "run", small())


def test_a_free_name_is_found(tmp_path: Path) -> None:
    assert unused_folder(tmp_path, "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert unused_folder(tmp_path, "run") == tmp_path / "run-3"


def test_a_step_interrupted_while_it_is_written_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder.writing_step(0) as beside:  # noqa: PT012 (interrupted while it writes)
        (beside / "scores.json").write_text("{}")
        raise KeyboardInterrupt
    assert not folder.step(0).exists()
    assert folder.scores() == []


# --- the rehearsal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        (AttentionTransfer(weight=1.0, of="features", stages=(9,)), "0 to 3"),
        (AttentionTransfer(weight=1.0, stages=(4,)), "0 to 3"),
    ],
)
def test_a_transfer_that_cannot_work_is_refused_before_anything_is_learned(
    transfer: AttentionTransfer, message: str, tmp_path: Path
) -> None:
    config = dataclasses.replace(small(), method=Finetune(attention_transfer=transfer))
    with pytest.raises(ValueError, match=message):
        run(tmp_path, config)
    assert not (tmp_path / "metrics.jsonl").exists()
    assert not (tmp_path / "step-0").exists()


def test_a_rehearsal_leaves_no_trace() -> None:
    model = build.first_model(small(), build.build_stream(small())).train()
    model.network.decode_head.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    rehearse_transfer(model, AttentionTransfer(weight=1.0))
    assert freeze_unused(model) == []
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert model.network.segformer.training
    assert not model.network.decode_head.training


def test_a_step_0_that_means_something_else_is_not_taken_over(tmp_path: Path) -> None:
    ssul = small("ssul")
    run(tmp_path / "ssul", dataclasses.replace(ssul, data=dataclasses.replace(ssul.data, saliency="everywhere")))
    start = str(tmp_path / "ssul" / "step-0")
    with pytest.raises(ValueError, match=r"data\.saliency"):
        run(tmp_path / "other maps", dataclasses.replace(ssul, start_from=start))
    square = dataclasses.replace(small(), evaluation=EvaluationConfig(mode="crop"))
    run(tmp_path / "square", square)
    larger = dataclasses.replace(square, train=dataclasses.replace(square.train, crop=48))
    with pytest.raises(ValueError, match=r"the crop that is measured 32, this run has 48"):
        run(tmp_path / "larger", dataclasses.replace(larger, start_from=str(tmp_path / "square" / "step-0")))
    tested = dataclasses.replace(square, data=dataclasses.replace(square.data, test_split="train"))
    with pytest.raises(ValueError, match=r"data\.test_split 'val', this run has 'train'"):
        run(tmp_path / "tested", dataclasses.replace(tested, start_from=str(tmp_path / "square" / "step-0")))
    dft = small("dft")
    run(tmp_path / "dft", dataclasses.replace(dft, stream=StreamConfig(steps=(FIRST, ("five", "six")))))
    start = str(tmp_path / "dft" / "step-0")
    with pytest.raises(ValueError, match="2 reserved rows, this run's step 0 5"):
        run(tmp_path / "more to come", dataclasses.replace(dft, start_from=start))
    again = dataclasses.replace(dft, stream=StreamConfig(steps=(FIRST, ("five", "six"))), start_from=start)
    assert len(run(tmp_path / "the same", again)) == 2


FIRST = ("zero", "one", "two", "three", "four")
