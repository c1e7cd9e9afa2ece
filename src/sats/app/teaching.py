"""The part of the page where a new class is taught: what, by which method, and how far that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from sats.app.extending import Wish, able_methods
from sats.app.status import status_of
from sats.app.text import attempt
from sats.app.trying import choices

if TYPE_CHECKING:
    from collections.abc import Callable

    from sats.app.desk import Desk
    from sats.app.status import Status

LOOK_EVERY = 2.0
"""Seconds between two looks at an extension at work."""
DEFAULT_EPOCHS = 20
"""As `sats extend` has it."""
MOST_EPOCHS = 1000


@dataclass(frozen=True)
class Teaching:
    """The components of this part, and ``chosen``, where models to try are chosen."""

    class_name: gr.Textbox
    model: gr.Dropdown
    method: gr.Dropdown
    epochs: gr.Number
    start: gr.Button
    stop: gr.Button
    go_on: gr.Button
    problems: gr.HTML
    status: gr.HTML
    timer: gr.Timer
    chosen: gr.CheckboxGroup

    def all_changing(self) -> list[gr.Component]:
        """What shows how far an extension is, in the order of `_shown`."""
        return [self.status, self.start, self.stop, self.go_on, self.timer]


def teaching(desk: Desk, page: gr.Blocks, chosen: gr.CheckboxGroup) -> None:
    """Lay the part out, and let it do what it should; a new model joins those that are ``chosen``."""
    _connect(desk, page, _lay_out(desk, chosen))


def _lay_out(desk: Desk, chosen: gr.CheckboxGroup) -> Teaching:
    with gr.Row():
        class_name = gr.Textbox(label="Name of the new class", max_lines=1)
        model = gr.Dropdown(label="Model that learns it", **_models(desk))
        method = gr.Dropdown(able_methods(), value="sats", label="Method")
        epochs = gr.Number(DEFAULT_EPOCHS, precision=0, minimum=1, maximum=MOST_EPOCHS, label="Passes over the images")
    with gr.Row():
        start = gr.Button("Start", variant="primary", scale=0, min_width=160)
        stop = gr.Button("Stop", visible=False, scale=0, min_width=160)
        go_on = gr.Button("Go on", visible=False, scale=0, min_width=160)
    problems = gr.HTML(elem_classes="sats")
    status = gr.HTML(elem_classes="sats")
    timer = gr.Timer(LOOK_EVERY, active=False)
    return Teaching(class_name, model, method, epochs, start, stop, go_on, problems, status, timer, chosen)


def _models(desk: Desk) -> dict[str, Any]:
    models = desk.models()
    return {"choices": [(model.title, str(model.folder)) for model in models], "value": str(models[-1].folder)}


def _shown(status: Status) -> list[Any]:
    running = status.state == "running"
    return [
        status.html,
        gr.update(interactive=not running),
        gr.update(visible=running),
        gr.update(visible=status.can_go_on),
        gr.update(active=running),
    ]


def _connect(desk: Desk, page: gr.Blocks, on: Teaching) -> None:
    extensions, view = desk.extensions, on.all_changing()
    models = [on.model, on.chosen]

    def opened() -> list[Any]:
        return [*_shown(status_of(extensions)), gr.update(**_models(desk)), gr.update(**choices(desk))]

    def looked(folders: list[str]) -> list[Any]:
        status = status_of(extensions)
        if status.state != "finished":
            return [*_shown(status), gr.skip(), gr.skip()]
        new, every = _models(desk), choices(desk)["choices"]
        return [*_shown(status), gr.update(**new), gr.update(choices=every, value=[*folders, new["value"]])]

    def doing(act: Callable[..., None]) -> Callable[..., list[Any]]:
        return lambda *said: [attempt(lambda: act(*said)), *_shown(status_of(extensions))]

    def begin(name: str, folder: str, method: str, epochs: int | None) -> None:
        chosen = desk.chosen([folder])
        if not chosen or not epochs:
            raise ValueError("Choose a model that is there, and how often it passes over the images.")
        extensions.begin(Wish(chosen[0], name, method, epochs), desk.collection)

    asked = [on.class_name, on.model, on.method, on.epochs]
    on.start.click(doing(begin), asked, [on.problems, *view])
    on.stop.click(doing(extensions.stop), None, [on.problems, *view])
    on.go_on.click(doing(extensions.go_on), None, [on.problems, *view])
    on.timer.tick(looked, on.chosen, [*view, *models], show_progress="hidden")
    page.load(opened, None, [*view, *models])
