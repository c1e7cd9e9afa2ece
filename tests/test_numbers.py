"""Numbers at their limits: overflow, what is no number, single pixels and images, all classes that a mask holds."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

import sats
from sats.config import RunConfig
from sats.data.folder import open_folder
from sats.engine import build
from sats.engine.checkpoint import load_newest
from sats.engine.loop import Learner, update
from sats.engine.optim import make_optimizer
from sats.engine.run_folder import RunFolder
from sats.errors import RunError
from sats.methods import METHODS, Method
from sats.methods.base import all_losses
from sats.methods.context import Context
from sats.methods.finetune import Finetune
from sats.types import IGNORE, Batch
from steps import STEP_1, at, batch, outputs
from test_engine import prepared, run, same_weights, small

STREAMED = [name for name, kind in METHODS.items() if kind.data == "stream"]

# --- overflow ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("no_number", [torch.inf, torch.nan])
def test_weights_that_are_no_numbers_are_never_saved(
    no_number: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient is none in the second update, though the loss is a number."""

    def overflow(_: Finetune, context: Context) -> None:
        gradient = next(iter(context.model.parameters())).grad
        assert gradient is not None
        gradient.mul_(next(factors))

    factors = iter((1.0, no_number))
    monkeypatch.setattr(Finetune, "after_backward", overflow)
    config = small()
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, checkpoint_minutes=0.0))
    with pytest.raises(RunError, match=r"no longer finite in step 0 after iteration 2: .*--optim\.clip 1.*resume"):
        run(tmp_path / "run", config)
    folder = RunFolder(tmp_path / "run")
    saved, problems = load_newest(folder.checkpoints, folder.fingerprint(), 0)
    assert saved is not None
    assert saved.iteration == 1
    assert not problems
    assert all(tensor.isfinite().all() for tensor in saved.model.values())


@pytest.mark.parametrize("method", ["finetune", "ewc", "pi", "rw"])
def test_an_update_that_overflows_in_half_precision_is_skipped(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient scaler as on a GPU: nothing moves, nothing is remembered of it, and the scale is halved."""
    config = small(method)
    shared, context = prepared(config, tmp_path)
    shared.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    shared.accelerator.native_amp = True
    monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
    monkeypatch.setattr(shared.accelerator, "autocast", nullcontext)  # but computed in float32
    loader = build.train_loader(config, shared.stream, context.step, torch.device("cpu"), 0, 1)
    with torch.no_grad():
        shared.method.begin_step(context, [])
    optimizer = shared.accelerator.prepare(make_optimizer(context.model, config.optim, 0))
    learner = Learner(shared, context, context.model, optimizer)
    before = {name: value.detach().clone() for name, value in context.model.named_parameters()}
    factors = iter((torch.inf, 1.0, 1.0))
    next(context.model.parameters()).register_hook(lambda gradient: gradient * next(factors))
    moved = []
    for batches in loader.batches(0, 3):
        terms = update(learner, [batches])
        assert all(term.isfinite() for term in terms.values())
        assert all(tensor.isfinite().all() for tensor in context.state.values())
        moved.append(not all(torch.equal(value, before[name]) for name, value in context.model.named_parameters()))
        assert optimizer.step_was_skipped == (not moved[-1])
    assert moved == [False, True, True]
    assert shared.accelerator.scaler.get_scale() == 4.0


@pytest.mark.parametrize("no_number", [torch.inf, torch.nan])
def test_a_loss_that_is_no_number_ends_the_run_and_after_the_mend_it_goes_on_to_the_same_end(
    no_number: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=2, checkpoint_minutes=0.0))
    run(tmp_path / "whole", config)
    losses, calls = Finetune.losses, []

    def broken(*arguments: object) -> dict[str, Tensor]:
        calls.append(1)
        terms = losses(*arguments)  # type: ignore[arg-type]
        return {name: term * (no_number if len(calls) == 3 else 1.0) for name, term in terms.items()}

    monkeypatch.setattr(Finetune, "losses", broken)
    with pytest.raises(RunError, match=r"no longer finite in step 0, iteration 3: cross_entropy = (inf|nan)\. Lower"):
        run(tmp_path / "run", config)
    sats.resume(tmp_path / "run")
    assert all(same_weights(tmp_path / "whole", tmp_path / "run", step) for step in range(2))


# --- nothing to learn from, or hardly anything ------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("kind", ["nothing labelled", "one image", "background alone", "one pixel"])
def test_every_loss_is_a_number_on_batches_with_next_to_nothing(name: str, kind: str) -> None:
    method = METHODS[name]()
    where = at(method, STEP_1)
    data = batch(STEP_1)
    labels = data.labels.clone()
    if kind == "nothing labelled":
        labels.fill_(IGNORE)
    elif kind == "background alone":
        labels.zero_()
    elif kind == "one pixel":
        labels.fill_(IGNORE)
        labels[0, 0, 0] = STEP_1.first_new
    salient = torch.zeros_like(labels, dtype=torch.bool)
    data = Batch(data.images, labels, salient)
    if kind == "one image":
        data = Batch(data.images[:1], labels[:1], salient[:1])
    terms = all_losses(method, where, data, *outputs(method, where, data))
    assert all(term.isfinite() for term in terms.values()), terms
    torch.stack(list(terms.values())).sum().backward()
    gradients: list[Tensor] = [value.grad for value in where.model.parameters() if value.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


def write_data(root: Path, shape: tuple[int, int], images: int = 2, classes: int = 2) -> Path:
    """Images whose masks hold the ids that there are, one after the other."""
    for split in ("train", "val"):
        for part in ("images", "masks"):
            (root / part / split).mkdir(parents=True)
        for index in range(images):
            ids = (np.arange(shape[0] * shape[1]).reshape(shape) + index + 1) % (classes + 1)
            Image.fromarray(ids.astype(np.uint8)).save(root / "masks" / split / f"{index}.png")
            Image.fromarray(ids.astype(np.uint8)).save(root / "images" / split / f"{index}.png")
    (root / "classes.txt").write_text("\n".join(["background", *(f"class {index + 1}" for index in range(classes))]))
    return root


def own(data: Path, protocol: str, batch_size: int = 2, method: str = "finetune") -> RunConfig[Method]:
    config = small(method)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, source="folder", root=str(data)),
        stream=dataclasses.replace(config.stream, protocol=protocol),
        train=dataclasses.replace(config.train, batch_size=batch_size),
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3)])
def test_images_smaller_than_the_crop_and_of_one_pixel_are_learned_from(shape: tuple[int, int], tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", shape)
    scores = run(tmp_path / "run", own(data, "1-1"))
    assert scores[-1].pixels["class 1"] > 0
    assert scores[-1].miou["all"] is not None


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_step_may_have_one_image_and_a_batch_too(batch_size: int, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (40, 40), images=1)
    assert len(run(tmp_path / "run", own(data, "1-1", batch_size, "sats"))) == 2


def test_a_class_without_a_test_pixel_is_no_number_and_is_left_out(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (40, 40))
    for index in range(2):
        Image.fromarray(np.zeros((40, 40), dtype=np.uint8)).save(data / "masks" / "val" / f"{index}.png")
    last = run(tmp_path / "run", own(data, "1-1"))[-1]
    assert last.unmeasured == ("class 1", "class 2")
    assert last.miou["new"] is None
    assert last.miou["all"] == last.iou["background"]


# --- classes ----------------------------------------------------------------------------------------------------------


def test_a_mask_holds_254_classes_and_a_background(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (40, 40), classes=254)
    last = run(tmp_path / "run", own(data, "253-1"))[-1]
    assert len(last.classes) == 255
    assert last.pixels["class 254"] > 0


def test_254_classes_leave_no_id_to_mark_objects_with(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (40, 40), classes=254)
    with pytest.raises(ValueError, match=r"255 classes, and methods that look for objects \(ssul\) know 254 at most"):
        run(tmp_path / "run", own(data, "253-1", method="ssul"))


def test_more_classes_than_a_mask_holds_are_refused(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (40, 40), classes=3)
    (data / "classes.txt").write_text("\n".join(f"class {index}" for index in range(300)))
    with pytest.raises(ValueError, match="names 300 classes: an 8-bit mask holds 255 at most"):
        open_folder(data, "train")
    (data / "classes.txt").write_text("\n".join(f"class {index}" for index in range(4)))
    Image.fromarray(np.full((40, 40), 300, dtype=np.uint16)).save(data / "masks" / "train" / "0.png")
    with pytest.raises(ValueError, match=r"mode I;16, not class indices: save the mask as a PNG with one 8-bit"):
        open_folder(data, "train")
