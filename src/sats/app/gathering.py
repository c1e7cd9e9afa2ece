"""The part of the page where images and masks of a new class are gathered: uploaded, or painted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from sats.app.painting import PAINT, painted, to_paint
from sats.app.text import attempt, told
from sats.data.index import IMAGE_SUFFIXES
from sats.data.pairs import MASK_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sats.app.desk import Desk


@dataclass(frozen=True)
class Gathering:
    """The components of this part."""

    images: gr.File
    masks: gr.File
    problems: gr.HTML
    shelf: gr.HTML
    name: gr.Dropdown
    remove: gr.Button
    clear: gr.Button
    editor: gr.ImageEditor
    keep: gr.Button
    wipe: gr.Button

    def all_changing(self) -> list[gr.Component]:
        """What shows the images and which of them is painted, in the order of what `_connect` shows."""
        return [self.shelf, self.name, self.clear, self.editor, self.keep, self.wipe, self.remove]


def gathering(desk: Desk, page: gr.Blocks) -> None:
    """Lay the part out, and let it do what it should."""
    on = _lay_out()
    _connect(desk, page, on)


def _lay_out() -> Gathering:
    place = {"height": 150, "min_width": 280}
    with gr.Row():
        images = gr.File(label="Images", file_count="multiple", file_types=sorted(IMAGE_SUFFIXES), **place)
        masks = gr.File(
            label="Masks: PNG, called like their images",
            file_count="multiple",
            file_types=sorted(MASK_SUFFIXES),
            **place,
        )
    problems = gr.HTML(elem_classes="sats")
    shelf = gr.HTML(elem_classes="sats")
    with gr.Row():
        name = gr.Dropdown([], label="Image to paint, or to take away", visible=False, scale=2)
        remove = gr.Button("Take this image away", visible=False, scale=0, min_width=240)
        clear = gr.Button("Take all away", visible=False, scale=0, min_width=160)
    return Gathering(images, masks, problems, shelf, name, remove, clear, _editor(), *_keep_or_wipe())


def _editor() -> gr.ImageEditor:
    colour = "rgb({}, {}, {})".format(*PAINT)
    return gr.ImageEditor(
        label="Paint over the new class",
        type="pil",
        format="png",
        sources=(),
        transforms=(),
        brush=gr.Brush(colors=[colour], default_color=colour, color_mode="fixed"),
        layers=False,
        buttons=[],
        visible=False,
        height=620,
    )


def _keep_or_wipe() -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        keep = gr.Button("Keep what is painted", variant="primary", visible=False, scale=0, min_width=260)
        wipe = gr.Button("Take its mask away", visible=False, scale=0, min_width=260)
    return keep, wipe


def _connect(desk: Desk, page: gr.Blocks, on: Gathering) -> None:
    collection, view = desk.collection, on.all_changing()

    def shown(name: str | None = None) -> list[Any]:
        names = [item.name for item in collection.items()]
        current = collection.item(name) if name in names else None
        return [
            desk.shelf.html(),
            gr.update(choices=names, value=current.name if current else None, visible=bool(names)),
            gr.update(visible=bool(names)),
            gr.update(value=to_paint(current) if current else None, visible=current is not None),
            *[gr.update(visible=current is not None)] * 3,
        ]

    def taking(add: Callable[[list[str]], list[str]]) -> Callable[[list[str] | None, str | None], list[Any]]:
        return lambda files, name: [None, told(*add(files or [])), *shown(name)]

    def keep(name: str, value: dict[str, Any]) -> list[Any]:
        return [
            attempt(lambda: collection.set_mask(name, painted(value, collection.item(name).labels()))),
            *shown(name),
        ]

    def wipe(name: str) -> list[Any]:
        return [attempt(lambda: collection.remove_mask(name)), *shown(name)]

    on.images.upload(taking(collection.add_images), [on.images, on.name], [on.images, on.problems, *view])
    on.masks.upload(taking(collection.add_masks), [on.masks, on.name], [on.masks, on.problems, *view])
    on.name.input(shown, on.name, view)
    on.keep.click(keep, [on.name, on.editor], [on.problems, *view])
    on.wipe.click(wipe, on.name, [on.problems, *view])
    on.remove.click(lambda name: [attempt(lambda: collection.remove(name)), *shown()], on.name, [on.problems, *view])
    on.clear.click(lambda: [attempt(collection.clear), *shown()], None, [on.problems, *view])
    page.load(shown, None, view)
