"""What all visitors of the page share: the models, what they saw, and what is being made."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sats.app.collection import Collection
from sats.app.drawing import side_by_side, write_masks
from sats.app.extending import Extensions
from sats.app.models import all_classes
from sats.app.prediction import Sight, open_photo
from sats.app.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sats.app.models import Model

    Following = Callable[[Sequence[Model]], Iterable[Model]]

MOST_AT_FIRST = 12
"""Models that are shown before anybody has chosen."""
KEPT_DOWNLOADS = 16
"""Sets of mask files that can still be downloaded."""


@dataclass(frozen=True)
class Desk:
    """The models that were ``given``, and see by ``sight``; a folder, ``spare``, for masks to fetch.

    ``collection`` holds images of a new class, which stand on a ``shelf``; ``extensions`` learn from them.
    """

    given: tuple[Model, ...]
    spare: Path
    sight: Sight
    collection: Collection
    shelf: Shelf
    extensions: Extensions

    def models(self) -> list[Model]:
        """The models that were given, and those that were made here."""
        return [*self.given, *self.extensions.made()]

    def chosen(self, folders: Iterable[str]) -> list[Model]:
        """The models in ``folders``, in order; those that are not there are left out."""
        wanted = set(folders)
        return [model for model in self.models() if str(model.folder) in wanted]

    def first_choice(self) -> list[Model]:
        """The models to show at first: all, or of many the first and the last of each group."""
        models = self.models()
        if len(models) <= MOST_AT_FIRST:
            return models
        ends = {model.group: model for model in reversed(models)}, {model.group: model for model in models}
        return [model for model in models if any(model is end[model.group] for end in ends)]

    def see(self, path: str, models: Sequence[Model], follow: Following) -> tuple[str, list[Path]]:
        """What ``models`` see in the picture at ``path``: HTML, and the masks as files.

        ValueError if it is no picture; ``follow`` passes the models on, one by one.
        """
        photo = open_photo(path)
        maps = [self.sight.labels(model, photo) for model in follow(models)]
        html = side_by_side(photo, models, maps, all_classes(self.models()))
        return html, write_masks(self._new_folder(), photo, models, maps)

    def _new_folder(self) -> Path:
        """A folder for mask files; the oldest ones go."""
        there = sorted(self.spare.glob("masks-*"), key=lambda path: path.stat().st_mtime)
        for old in there[: -KEPT_DOWNLOADS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix="masks-", dir=self.spare))


def make_desk(given: Sequence[Model], work: Path, spare: Path) -> Desk:
    """A desk for the models ``given``, which has new models made in ``work`` and puts masks to fetch into ``spare``."""
    collection = Collection(work / "collected")
    return Desk(tuple(given), spare, Sight(), collection, Shelf(collection), Extensions(work))
