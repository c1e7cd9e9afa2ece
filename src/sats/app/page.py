"""The page: its tabs, and its look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from sats.app.gathering import gathering
from sats.app.teaching import teaching
from sats.app.text import style
from sats.app.trying import trying

if TYPE_CHECKING:
    from sats.app.desk import Desk

TITLE = "sats: what models see"
HOUR, DAY = 3600, 86400


def page_of(desk: Desk) -> gr.Blocks:
    """The page, not served yet; uploads are deleted after a day."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(HOUR, DAY), fill_width=True) as page:
        with gr.Tab("Try"):
            chosen = trying(desk)
        with gr.Tab("Add a class"):
            gr.Markdown("### 1. Images of the new class, with masks")
            gathering(desk, page)
            gr.Markdown("### 2. What is learned, and how")
            teaching(desk, page, chosen)
    return page


def look() -> dict[str, Any]:
    """The page's colours and style: fonts are those of the system, and nothing is fetched from elsewhere."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif"]
    theme = gr.themes.Default(primary_hue="blue", font=fonts, font_mono=["ui-monospace", "monospace"])
    return {"theme": theme, "css": style()}
