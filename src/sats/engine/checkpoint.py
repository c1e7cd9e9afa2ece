"""Exact resume: everything that changes during a step, written beside, checked by sum, the last two kept."""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import torch
from safetensors.torch import load_file, save_file

from sats.documents import is_a, read_json
from sats.errors import RunError
from sats.files import building, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor, nn

VERSION = 1
KEPT = 2
MANIFEST = "checkpoint.json"
MISPLACED = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""What the system says where a file is missing, or something else is in its place."""
RANDOM, BUFFER = "random.", "buffer."
"""What the names of a process's own tensors begin with."""


class OtherFormatError(ValueError):
    """A checkpoint is of another version of sats."""


class _Manifest(TypedDict):
    """What a checkpoint says about itself."""

    version: int
    run: str
    step: int
    iteration: int
    processes: NotRequired[int]  # older checkpoints are of one
    sha256: dict[str, str]
    state: NotRequired[list[str]]  # the same


@dataclass(frozen=True)
class Checkpoint:
    """The state of a step after ``iteration`` updates; ``run`` is the fingerprint of the run it belongs to.

    ``model`` and ``state`` (the method's) map names to tensors; ``optimizer`` is its state dictionary, with the
    gradient scaler's where there is one; ``random`` holds torch's random states by device. All of these are the
    main process's; ``others`` has the `own_state` of each further process of the run.
    """

    run: str
    step: int
    iteration: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Tensor]
    random: dict[str, Tensor]
    others: tuple[dict[str, Tensor], ...] = ()

    @property
    def processes(self) -> int:
        """How many processes shared the run."""
        return 1 + len(self.others)


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Write ``checkpoint`` below ``folder`` and remove all but the last two of its step there.

    Those of a later step were made before this one was trained anew.
    """
    name = f"step-{checkpoint.step}-iteration-{checkpoint.iteration:08d}"
    with building(folder / name) as beside:
        _write(checkpoint, beside)
    every = _newest_first(folder)
    own = [path for path in every if _place(path)[0] == checkpoint.step]
    for outdated in set(every) - set(own[:KEPT]):
        shutil.rmtree(outdated)


def _write(checkpoint: Checkpoint, folder: Path) -> None:
    save_file(_contiguous(checkpoint.model), folder / "model.safetensors")
    save_file(_contiguous(checkpoint.state), folder / "state.safetensors")
    save_file(_contiguous(checkpoint.random), folder / "random.safetensors")
    for process, own in enumerate(checkpoint.others, start=1):
        save_file(_contiguous(own), folder / f"process-{process}.safetensors")
    with (folder / "optimizer.pt").open("wb") as file:  # by its path, torch does not tell why it cannot be written
        torch.save(checkpoint.optimizer, file)
    manifest = {
        "version": VERSION,
        "run": checkpoint.run,
        "step": checkpoint.step,
        "iteration": checkpoint.iteration,
        "processes": checkpoint.processes,
        "state": sorted(checkpoint.state),
        "sha256": {path.name: sha256(path) for path in sorted(folder.iterdir())},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def load_newest(folder: Path, run: str, step: int) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of ``step`` below ``folder``, and a sentence about each broken one.

    Broken ones are removed, so that they do not take the place of whole ones among the last two. RunError for one that
    only cannot be read for now; ValueError if one has another format, or belongs to another run than the one with the
    fingerprint ``run``.
    """
    problems: list[str] = []
    for path in _newest_first(folder):
        if not path.name.startswith(f"step-{step}-"):
            continue
        try:
            found = _load(path)
        except OtherFormatError:
            raise
        except Exception as error:  # pickle, torch and safetensors have no common one; each is told of
            if _may_be_whole(error):
                cause = str(error) or "there is not enough memory"
                raise RunError(
                    f"The checkpoint {path} cannot be read ({cause}). Try again; if it stays so, remove that folder "
                    "to go on from an earlier one."
                ) from error
            problems.append(f"The checkpoint {path} is broken ({error}) and was removed.")
            shutil.rmtree(path)
            continue
        if found.run != run:
            raise ValueError(
                f"The checkpoint {path} was made with other settings than the run's config.json has now: put the old "
                f"ones back, or remove {folder} to start the step again."
            )
        return found, problems
    return None, problems


def _may_be_whole(error: Exception) -> bool:
    """Whether this kept a checkpoint from being read, and says nothing of what is in it."""
    cause = error.__cause__ or error  # a ValueError may stand before the system's
    if isinstance(cause, OSError):
        return cause.errno not in MISPLACED
    return isinstance(cause, MemoryError) or "allocate memory" in str(cause)  # torch's own


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*-iteration-*"), key=_place, reverse=True)


def _place(path: Path) -> tuple[int, int]:
    """Step and iteration, from a checkpoint's name."""
    _, step, _, iteration = path.name.split("-")
    return int(step), int(iteration)


def _load(folder: Path) -> Checkpoint:
    manifest = read_json(folder / MANIFEST)
    if (found := manifest["version"]) != VERSION:
        raise OtherFormatError(
            f"The checkpoint {folder} has format {found}, and this version of sats reads {VERSION}: resume with the "
            f"version that wrote it, or remove {folder.parent} to start the step again."
        )
    if not is_a(manifest, _Manifest):
        raise ValueError(f"{MANIFEST} lacks something, or has it of another kind")
    for name, expected in manifest["sha256"].items():
        if sha256(folder / name) != expected:
            raise ValueError(f"{name} has another checksum than when it was written")
    state = load_file(folder / "state.safetensors")
    if sorted(state) != manifest.get("state", sorted(state)):
        raise ValueError("state.safetensors holds other tensors than when it was written")
    return Checkpoint(
        run=manifest["run"],
        step=manifest["step"],
        iteration=manifest["iteration"],
        model=load_file(folder / "model.safetensors"),
        optimizer=torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu"),
        state=state,
        random=load_file(folder / "random.safetensors"),
        others=tuple(
            load_file(folder / f"process-{process}.safetensors") for process in range(1, manifest.get("processes", 1))
        ),
    )


@contextmanager
def putting_back(saved: Checkpoint) -> Iterator[None]:
    """Turn whatever goes wrong while ``saved`` is restored into one RunError: it does not fit this run."""
    try:
        yield
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"The checkpoint after iteration {saved.iteration} of step {saved.step} does not go with this run "
            f"({str(error).strip().splitlines()[0]:.200}): remove the run's folder checkpoint/ to start the step again."
        ) from error


def random_states() -> dict[str, Tensor]:
    """Torch's random states, by device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """What differs between the processes of a run: random states, and batch norm's running statistics."""
    random = {f"{RANDOM}{device}": state for device, state in random_states().items()}
    return {**random, **{f"{BUFFER}{name}": buffer for name, buffer in _running(model).items()}}


def restore_own(model: nn.Module, own: dict[str, Tensor]) -> None:
    """Put back what `own_state` gave."""
    for name, buffer in _running(model).items():
        buffer.copy_(own[f"{BUFFER}{name}"])
    restore_random({name.removeprefix(RANDOM): state for name, state in own.items() if name.startswith(RANDOM)})


def share_anew(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give ``model`` the mean of the running statistics of all processes of ``checkpoint``, for another number of them.

    The model already has the main process's.
    """
    for name, buffer in _running(model).items():
        states = [buffer.cpu(), *(own[f"{BUFFER}{name}"] for own in checkpoint.others)]
        buffer.copy_(torch.stack(states).double().mean(dim=0))


def _running(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}


def restore_random(states: dict[str, Tensor]) -> None:
    """Put torch's random states back."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
