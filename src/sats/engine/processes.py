"""What the processes of one run do together. With one process all of it does nothing and costs nothing."""

from __future__ import annotations

import atexit
import time
import warnings
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import distributed

from sats.engine import launch
from sats.errors import RunError, StoppedElsewhereError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

TIMEOUT = timedelta(hours=1)
"""How long a process waits for the others; the main one may look through a large data set meanwhile."""
GRACE = 2.0
"""Seconds for which the other processes wait for the main one to tell of an error first."""
WORDS, FAILURE = "words", "failure"
BESIDE_THE_POINT = (
    "`broadcast_buffers` is deprecated",  # accelerate knows it by no other name
    "Grad strides do not match bucket view strides",  # of depthwise kernels, in dimensions of size 1
)
"""Warnings of torch about every run that processes share."""


# --- meeting and parting ----------------------------------------------------------------------------------------------


def join() -> None:
    """Meet the run's other processes, once; ValueError if there are more of them than GPUs."""
    if launch.world_size() == 1 or distributed.is_initialized():
        return
    gpus = torch.cuda.device_count()
    if gpus and launch.local_world_size() > gpus:
        raise ValueError(
            f"{launch.local_world_size()} processes cannot share {gpus} GPU(s): start one for each, with "
            f"--nproc-per-node {gpus}, or train on the CPU, with CUDA_VISIBLE_DEVICES= before the command."
        )
    if gpus:
        torch.cuda.set_device(launch.local_rank())
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if gpus else "gloo",  # what is agreed on stays on the CPU: no GPU has to wait for it
        store=_store("group"),
        rank=launch.rank(),
        world_size=launch.world_size(),
        timeout=TIMEOUT,
    )
    atexit.register(distributed.destroy_process_group)
    for message in BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", message)


@cache
def _store(purpose: str) -> Store:
    """Where the processes leave each other words; torchrun keeps it, so it outlives them."""
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
    return PrefixStore(f"sats {purpose}", store)


def make_accelerator(precision: str) -> Accelerator:
    """What moves models to this process's device and joins their gradients; ValueError if the processes are unfit.

    Each process keeps batch norm's running statistics by itself (`average_buffers` joins them). Parameters that
    learn nothing are told by ``requires_grad``, so nobody has to look for them in every iteration.
    """
    join()
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=launch.world_size() > 1 and not torch.cuda.is_available(),
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if accelerator.num_processes != launch.world_size():
        raise ValueError(
            f"The launcher started {launch.world_size()} processes, accelerate knows of {accelerator.num_processes}: "
            "start the run with torchrun, and in a script of your own make no Accelerator before it."
        )
    return accelerator


@contextmanager
def telling_once() -> Iterator[None]:
    """Let the process that fails first tell why; in those that fail of it, StoppedElsewhereError takes the place.

    A mistake that all processes meet is told by the main one, an error of one process by that one. RunError where
    another process is gone and left no word.
    """
    try:
        yield
    except BaseException as error:
        if launch.world_size() == 1:
            raise
        atexit.unregister(distributed.destroy_process_group)  # it would wait for those that are gone
        if _is_told_elsewhere(error):
            raise StoppedElsewhereError("Another process of the run stopped, and said why.") from error
        if _is_lost_connection(error):
            raise RunError(
                "Another process of the run is gone. If it left no message, the system may have killed it for want of "
                f"memory. The run goes on with `sats resume RUN`, under torchrun as before. ({_in_short(error)})"
            ) from error
        raise


def _is_told_elsewhere(error: BaseException) -> bool:
    """Whether another process failed first: of the same error, or in a way that made this one fail."""
    own = f"{launch.rank()} {error}"
    if launch.is_abandoned():  # and with it whoever keeps the words
        return False
    try:
        if not launch.is_main():
            _wait_for_word()
        first = _store(WORDS).compare_set(FAILURE, "", own).decode()
    except RuntimeError:  # the store is gone with the process that kept it
        return False
    if first == own:
        return False
    is_consequence = not isinstance(error, (ValueError, RunError, OSError))
    return is_consequence or first.partition(" ")[2] == str(error)


def _wait_for_word() -> None:
    """Wait a moment for another process to tell of a failure."""
    end = time.monotonic() + GRACE
    while time.monotonic() < end and not _store(WORDS).check([FAILURE]):
        time.sleep(0.02)


def _is_lost_connection(error: BaseException) -> bool:
    lost = isinstance(error, distributed.DistError) or "gloo" in str(error)
    return lost and isinstance(error, RuntimeError)


def _in_short(error: BaseException) -> str:
    """The first sentence of what torch says."""
    return str(error).partition(". ")[0]


# --- together ---------------------------------------------------------------------------------------------------------


def agree(*wishes: bool) -> tuple[bool, ...]:
    """For each wish, whether any process has it: the same answer everywhere."""
    if launch.world_size() == 1:
        return wishes
    counts = total(torch.tensor(wishes, dtype=torch.int64))
    return tuple(bool(count) for count in counts)


def wait() -> None:
    """Go on when every process has come here."""
    agree(False)


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does what is inside before the others begin: they read what it wrote."""
    if not launch.is_main():
        wait()
    yield
    if launch.is_main():
        wait()


def from_main(value: T) -> T:
    """The main process's ``value``, in every process."""
    if launch.world_size() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def total(counts: Tensor) -> Tensor:
    """``counts`` (any shape, the same everywhere) added up over all processes."""
    if launch.world_size() == 1:
        return counts
    result = counts.clone()
    distributed.all_reduce(result)
    return result


def mean(values: Tensor) -> Tensor:
    """``values`` (any shape, the same everywhere) averaged over all processes."""
    return total(values) / launch.world_size()


def gather(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The ``tensors`` of each process, on the CPU; all of them in the main process, elsewhere nothing."""
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    if launch.world_size() == 1:
        return [tensors]
    found: list[dict[str, Tensor]] | None = [{} for _ in range(launch.world_size())] if launch.is_main() else None
    distributed.gather_object(tensors, found, dst=0)
    return found or []


@torch.no_grad()
def average_buffers(model: nn.Module) -> None:
    """Give every process the mean of what the processes have: batch norm's running statistics. Integers stay.

    Computed in float64, so that what is equal everywhere stays the same to the last bit.
    """
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if launch.world_size() == 1 or not buffers:
        return
    flat = torch.cat([buffer.double().cpu().flatten() for buffer in buffers])
    parts = mean(flat).split([buffer.numel() for buffer in buffers])
    for buffer, part in zip(buffers, parts, strict=True):
        buffer.copy_(part.view_as(buffer))
