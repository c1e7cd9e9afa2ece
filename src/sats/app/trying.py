"""The tab where a picture is looked at with the eyes of several models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from sats.app.text import MISTAKES, rendered, told

if TYPE_CHECKING:
    from sats.app.desk import Desk

OPACITY = 60
"""Percent at first, as `sats predict` draws overlays."""
SET_OPACITY = "value => document.documentElement.style.setProperty('--opacity', value / 100)"
"""In the browser itself, so that the slider needs no answer of the server's."""


def trying(desk: Desk) -> gr.CheckboxGroup:
    """Lay out the tab; returns the component in which models are chosen."""
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            picture = _picture()
            opacity = gr.Slider(0, 100, OPACITY, step=1, label="Opacity, %")
            chosen = gr.CheckboxGroup(label="Models", **choices(desk), elem_classes="models")
        with gr.Column(scale=3, min_width=300):
            seen = gr.HTML(rendered("welcome"), elem_classes="sats")
            files = gr.File(
                label="Masks to download", file_count="multiple", interactive=False, visible=False, height=240
            )

    def show(path: str | None, folders: list[str], progress: Any = gr.Progress()) -> tuple[str, Any]:  # noqa: B008 (gradio looks for it there)
        nothing = gr.update(visible=False, value=None)
        models = desk.chosen(folders)
        if path is None or not models:
            return rendered("welcome"), nothing
        try:
            html, masks = desk.see(path, models, lambda every: progress.tqdm(every, desc="looking"))
        except MISTAKES as error:
            return told(str(error)), nothing
        return html, gr.update(visible=True, value=[str(mask) for mask in masks])

    gr.on([picture.change, chosen.change], show, [picture, chosen], [seen, files], trigger_mode="always_last")
    opacity.change(None, opacity, None, js=SET_OPACITY)
    return chosen


def _picture() -> gr.Image:
    """A place to drop a picture, whose file is handed on as it is: gradio itself would open it, whatever it is."""
    picture = gr.Image(label="Picture", sources=["upload"], height=280, buttons=[])
    picture.preprocess = lambda uploaded: uploaded.path if uploaded else None
    return picture


def choices(desk: Desk) -> dict[str, Any]:
    """The models to choose from, and those that are chosen at first."""
    return {
        "choices": [(model.title, str(model.folder)) for model in desk.models()],
        "value": [str(model.folder) for model in desk.first_choice()],
    }
