"""Serves the page: on this machine alone unless somebody says otherwise, asking nobody outside for anything."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sats.holding import held
from sats.progress import waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import gradio as gr

    from sats.app.models import Model

LOCAL: Final = ("127.0.0.1", "localhost")
"""Where only this machine's own browsers come from."""
MOST_BYTES = 100 * 2**20
"""Of an uploaded file."""
SILENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
"""What keeps libraries from asking anybody outside."""


@dataclass(frozen=True)
class Place:
    """Where the page is served: a host name or address, and a port, 0 for the first free one from 7860."""

    host: str = LOCAL[0]
    port: int = 0

    @property
    def is_local(self) -> bool:
        """Whether nobody else can reach it."""
        return self.host in LOCAL


def silence() -> None:
    """Let no library ask anybody outside; before they are loaded."""
    os.environ.update(SILENT)


@contextmanager
def serving(models: Sequence[Model], place: Place, work: Path) -> Iterator[str]:
    """Serve the page as long as the context lasts; gives its address. ``work`` is where new models are made.

    ValueError if the place is taken. At the end an extension at work stops, with a checkpoint.
    """
    silence()
    check_place(place)
    with tempfile.TemporaryDirectory(prefix="sats-app-", ignore_cleanup_errors=True) as spare:
        os.environ["GRADIO_TEMP_DIR"] = spare  # uploads, too
        with waiting("loading the page"):
            from sats.app.desk import make_desk
            from sats.app.page import page_of

            page = page_of(desk := make_desk(models, work, Path(spare)))
            address = _launched(page, place)
        try:
            yield address
        finally:
            page.close(verbose=False)
            with suppress(ValueError):  # it is another process's, and goes on
                desk.extensions.stop()


def _launched(page: gr.Blocks, place: Place) -> str:
    """Start to serve ``page``; returns its address."""
    from sats.app.guard import guards
    from sats.app.page import look

    os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), *LOCAL)))  # gradio asks its own server
    _, address, _ = page.launch(
        server_name=place.host,
        server_port=place.port or None,
        app_kwargs={"middleware": guards(LOCAL) if place.is_local else []},
        max_file_size=MOST_BYTES,
        prevent_thread_lock=True,
        quiet=True,
        inline=False,
        share=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        **look(),
    )
    return str(address)


def check_place(place: Place) -> None:
    """ValueError unless something can be served there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.host, place.port))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"Nothing can be served at {place.host}, port {place.port} ({error}): choose another --host or --port."
            ) from error


@contextmanager
def working_folder(named: Path | None) -> Iterator[Path]:
    """The folder where new models are made: the one that is ``named``, else one that goes at the end.

    It stays where it holds what took training. ValueError if it cannot be made, or another process works there.
    """
    work = named or Path(tempfile.mkdtemp(prefix="sats-app-work-"))
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{work} cannot be made ({error.strerror}): choose another --work.") from error
    try:
        with held(work):
            yield work
    finally:
        if named is None and not holds_training(work):
            shutil.rmtree(work, ignore_errors=True)


def holds_training(work: Path) -> bool:
    """Whether a model was made in ``work``, or begun."""
    from sats.app.extending import Extensions

    return any(extension.has_run for extension in Extensions(work).all())
