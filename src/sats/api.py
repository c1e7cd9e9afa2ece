"""The commands from Python: what ``sats train``, ``resume``, ``extend``, ``evaluate`` and ``predict`` do."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from sats.engine import launch, runtime
from sats.engine.remeasure import measure_again
from sats.engine.run_folder import (
    CONFIG,
    EXTENSION,
    STEP,
    RunFolder,
    create_run,
    find_model,
    new_folder,
    open_run,
    run_of,
)
from sats.engine.tracking import check_trackers, followed
from sats.errors import RunError, unknown
from sats.files import at_home
from sats.methods import METHODS, method_name
from sats.progress import LOADING, waiting
from sats.runs import Run
from sats.types import ALL, MIN_SIDE, Background, Future, OnError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from sats.config import RunConfig
    from sats.evaluation.predict import Predictor
    from sats.evaluation.scores import Scores
    from sats.methods import Method

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._+-]+")


def train(config: RunConfig[Method], out: Path | str = "", tracker: Sequence[str] | str = ()) -> Run:
    """Train every step of ``config`` and return the run: its scores, models and pictures.

    ``out`` is the run's folder, new or empty; by default a free name below ``runs/``. ``tracker`` names what follows
    the run: "tensorboard", "mlflow", "wandb", or several. ValueError for settings,
    data or a folder that do not fit; RunError when the run cannot go on. Under torchrun every process calls this, and
    the main one's arguments count.
    """
    return _trained(start(config, out, tracker) if launch.is_main() else None)


def resume(folder: PathLike[str] | str, tracker: Sequence[str] | str = ()) -> Run:
    """Go on with the interrupted run in ``folder`` and return it.

    The end is the same, bit for bit on a CPU, as if it had never been interrupted. A finished run is left as it is.
    The trackers that followed it do so again, unless ``tracker`` names others, or "none". Under torchrun every process
    calls this.
    """
    return _trained(reopen(folder, tracker) if launch.is_main() else None)


def extend(config: RunConfig[Method], out: Path | str, tracker: Sequence[str] | str = ()) -> Run:
    """Extend a trained model as ``config`` says (see `extension`), and return the run, with scores before and after.

    ``out``, new or empty, becomes a model folder that transformers loads; the run that made it is in ``out``/run.
    ``tracker`` is that of `train`. ValueError for settings, data or a folder that do not fit.
    """
    return _trained(start_extension(config, out, tracker) if launch.is_main() else None)


def extension(
    model: PathLike[str] | str,
    data: Path | str,
    method: str = "sats",
    classes: Sequence[str] = (),
    old_data: Path | str = "",
    merge: bool = False,
) -> RunConfig[Method]:
    """The settings to extend ``model`` by the classes of the folder ``data``, or by ``classes`` of them.

    ``model`` is a run, a model folder of Hugging Face's or a name on the hub. ``old_data`` is a folder to measure the
    old classes on; with ``merge``, what ``data`` labels as one of them is learned as that.
    """
    with waiting(LOADING):
        from sats.engine.extension import defaults, look, plan
    origin = look(os.fspath(model))
    config = defaults(origin, method)
    chosen = dataclasses.replace(config.data, root=str(data), classes=tuple(classes))
    return plan(origin, dataclasses.replace(config, data=chosen), str(old_data), merge)


def start_extension(config: RunConfig[Method], out: Path | str, tracker: Sequence[str] | str = ()) -> RunFolder:
    """The folder of a new extension's run, ``out``/run; nothing is trained yet."""
    check_trackers(tracker)
    if not config.extends.checkpoint:
        raise ValueError("These settings extend no model: make them with sats.extension(MODEL, DATA).")
    path = at_home(out)
    if (path / EXTENSION).exists() and not (path / CONFIG).exists():
        raise ValueError(
            f"{path} holds an unfinished extension: go on with `sats resume {path}`, or choose another --out."
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is not an empty folder: choose another one with --out.")
    return followed(create_run(path / EXTENSION, absolute_paths(config)), tracker)


def load(folder: PathLike[str] | str) -> Predictor:
    """The model in ``folder``: a run (its last finished step), a step of one, or any model folder of Hugging Face's.

    ValueError if there is none.
    """
    runtime.prepare()
    model = find_model(at_home(folder))
    with waiting(LOADING):
        from sats.evaluation.predict import read_predictor
    run = run_of(model)
    return read_predictor(model, run.config().method if run else METHODS["finetune"]())


def evaluate(
    model: PathLike[str] | str,
    data: PathLike[str] | str = "",
    split: str = "",
    *,
    future: Future | None = None,
    background: Background | None = None,
    crop: int | None = None,
    on_error: OnError | None = None,
    batch_size: int = 16,
) -> Scores:
    """The scores of a trained model, as its run measures them, or on the ``split`` of the folder ``data``.

    ``model`` is anything that `load` takes; classes are matched by name. ``future`` says what pixels of classes that
    the model does not know count as, ``background`` whether its pixels are measured; ``crop`` is the side of the middle
    square to measure, 0 for whole images; with ``on_error`` "skip", images that cannot be used are left out and listed.
    None: as in the run. ValueError for what does not fit.
    """
    if batch_size < 1:
        raise ValueError(f"--batch-size is {batch_size}; it must be at least 1.")
    if crop and crop < MIN_SIDE:
        raise ValueError(f"--crop is {crop}; it must be at least {MIN_SIDE}, or 0 for whole images.")
    for name, value, kind in (
        ("future", future, Future),
        ("background", background, Background),
        ("on_error", on_error, OnError),
    ):
        if value not in (None, *get_args(kind)):
            raise ValueError(f"{name}: {unknown('choice', str(value), get_args(kind))}")
    folder = find_model(at_home(model))  # complains before torch is loaded
    asked = {"future": future, "background": background, "crop": crop, "on_error": on_error, "batch_size": batch_size}
    return measure_again(load(folder), folder, os.fspath(data), split, asked)


def start(config: RunConfig[Method], out: Path | str = "", tracker: Sequence[str] | str = ()) -> RunFolder:
    """The folder of a new run with its configuration in it; nothing is trained yet, and torch is not loaded."""
    check_trackers(tracker)
    config = with_first_folder(config)
    protocol = "steps" if config.stream.steps or config.data.folders else config.stream.protocol
    name = f"{config.recipe}-{protocol}-{method_name(config.method)}-seed{config.seed}"
    safe = NOT_IN_NAMES.sub("-", name)  # the configuration may be somebody else's
    path = at_home(out) if out else new_folder(Path("runs"), safe)
    return followed(create_run(path, absolute_paths(config)), tracker)


def reopen(folder: PathLike[str] | str, tracker: Sequence[str] | str = ()) -> RunFolder:
    """The folder of a run to go on with, or that of an extended model; ValueError if there is none."""
    return followed(open_run(at_home(folder)), tracker)


def steps_below(root: Path) -> tuple[str, ...]:
    """The folders step-0, step-1, ... in ``root``, as far as they are there without a gap."""
    numbered = (root / f"{STEP}{number}" for number in itertools.count())
    return tuple(
        str(folder) for folder in itertools.takewhile(lambda folder: (folder / "classes.txt").is_file(), numbered)
    )


def with_first_folder(config: RunConfig[Method]) -> RunConfig[Method]:
    """``config`` with the first of the folders that arrive as its data, where nothing else is.

    They may be named one by one, or by the folder that holds them as step-0, step-1, ...
    """
    data, stream = config.data, config.stream
    if stream.protocol or stream.steps:
        return config
    folders = data.folders if data.root in ("", ".") else ()
    if not data.folders and data.source == "folder":
        folders = steps_below(at_home(data.root))
    elif folders and Path("classes.txt").is_file():
        raise ValueError(
            "The folder here holds data, too: if it is the first to be learned from, say --step . before the others."
        )
    if not folders:
        return config
    first, *later = folders
    data = dataclasses.replace(data, source="folder", root=first, folders=tuple(later))
    return dataclasses.replace(config, data=data, stream=dataclasses.replace(stream, protocol=ALL))


def absolute_paths(config: RunConfig[Method]) -> RunConfig[Method]:
    """``config`` with the paths in it made absolute, so that it can be resumed from any folder."""

    def absolute(path: str) -> str:
        return str(at_home(path).resolve()) if path else ""

    def absolute_if_there(path: str) -> str:
        """A hub name, or a word that is no path, stays as it is."""
        return absolute(path) if at_home(path).exists() else path

    data = dataclasses.replace(
        config.data,
        root=absolute(config.data.root),
        folders=tuple(absolute(folder) for folder in config.data.folders),
        saliency=absolute_if_there(config.data.saliency),
    )
    return dataclasses.replace(
        config,
        data=data,
        model=dataclasses.replace(config.model, weights=absolute_if_there(config.model.weights)),
        start_from=absolute(config.start_from),
        extends=dataclasses.replace(config.extends, old_data=absolute(config.extends.old_data)),
    )


def run(folder: RunFolder | None) -> RunFolder | None:
    """Train what is left to do in a run's folder, which no other run may touch meanwhile; returns the same.

    Where several processes share the run, ``folder`` is what the main one has; the others learn it here. There is
    nothing to do, and None is returned, if the main one has None.
    """
    runtime.prepare()
    with waiting(LOADING) if folder else nullcontext():
        from sats.engine import processes
        from sats.engine.train import train as train_run

    with folder.held() if folder else nullcontext(), processes.telling_once():
        processes.join()
        told = processes.from_main(folder.absolute() if folder else None)
        if told is None:
            return None
        try:
            train_run(told.config(), folder or told)
        except (ValueError, OSError, RunError) as error:
            if folder:
                after_failure(folder, error)
            raise
        if folder:
            folder.publish()
        return folder or told


def _trained(folder: RunFolder | None) -> Run:
    """The run in a folder, with what was left to do done."""
    done = run(folder)
    if done is None:
        raise RunError("The main process of the run had nothing to train, so there is nothing to go on with.")
    return Run(done.absolute().path)


def after_failure(folder: RunFolder, error: Exception) -> None:
    """Remove a run that a mistake in its settings or data kept from beginning; else add to ``error`` how to go on.

    RunError where the folder itself is gone: whatever failed then failed for that.
    """
    fix = f"Then go on with: sats resume {folder.path}"
    if not folder.config_path.is_file():
        raise RunError(f"The run's folder {folder.path} is gone ({error}): put it back. {fix}") from error
    if isinstance(error, ValueError):
        folder.discard_unless_begun()
        if folder.path.exists():
            error.add_note(fix)


def dismiss() -> None:
    """Let the processes that wait for the main one go, where it has nothing to train after all."""
    if launch.world_size() > 1:
        run(None)
