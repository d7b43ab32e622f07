"""Opening: studies, masks, other files as a series, and what a person drops onto the canvas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from brainseg_engine.core.study import Modality, Segmentation
from napari_brainseg.display import layers
from napari_brainseg.features.context import Base
from napari_brainseg.features.study import reading
from napari_brainseg.session import Kept, Kind, OpenStudy


class Opening(Base):
    """The verbs of the study section."""

    def open(self, source: reading.Source, coding: str | None = None) -> None:
        """Open a study folder, or files picked by hand. The one that is open stays until the new one is read."""
        name = source.name if isinstance(source, Path) else source[0].name if source else "nothing"
        self._read(f"Reading {name} …", partial(reading.read, source, coding), self._open)

    def open_sample(self, folder: Callable[[], Path]) -> None:
        """Open the study in the folder that ``folder()`` gives (it may take its time to make it)."""
        self._read("Preparing the sample …", lambda: reading.read(folder()), self._open)

    def reassign(self, modality: Modality, path: Path | None) -> None:
        """Take another file as that modality (None: no file)."""
        current = self.session.study
        if current is not None:
            work = partial(reading.reassigned, current, modality, path)
            self._read(f"Reading {modality.title} …", work, partial(self._reassign, current))

    def load_mask(self, path: Path, coding: str | None = None) -> None:
        """Show the mask in that file as the study's labels."""
        current = self.session.study
        if current is None:
            self.session.say("Open the study first, then its mask.", Kind.WARNING)
            return

        def work() -> tuple[Segmentation, int]:
            mask = reading.read_mask(path, current.study, coding)
            return mask, reading.checksum(mask.labels)

        self._read(f"Reading {path.name} …", work, partial(self._show_mask, current))

    def notice_layers(self) -> None:
        """Layers came or went that were not our doing: take up the study a person dropped, let go of what was removed."""
        dropped = layers.study_of(self.viewer)
        current = self.session.study
        if dropped is None:
            if current is not None:
                self.session.close()
            return
        if current is not None and OpenStudy(dropped).token == current.token:
            self._notice_labels(current)
            return
        found = layers.labels_layers(self.viewer, dropped.id)
        mask = reading.laid_out(layers.segmentation_of(found[0])) if found else None
        work = partial(reading.opened, dropped, mask=mask)
        self._read(f"Checking {dropped.id} …", work, partial(self._open, adopt=True))

    def _notice_labels(self, current: OpenStudy) -> None:
        """A mask was dropped onto its study, or the labels were removed."""
        found = layers.labels_layers(self.viewer, current.study.id)
        if not found:
            if self.session.segmentation is not None:
                self.session.clear()
        elif len(found) > 1:
            dropped = layers.segmentation_of(found[0])
            with self._changing_layers():
                self.viewer.layers.remove(found[0])
            if not dropped.grid.same_as(current.study.reference.grid):
                self.session.say(
                    f"The mask lies on another grid than {current.study.id} and was not taken.", Kind.ERROR
                )
                return
            self._show_mask(current, (dropped, reading.checksum(dropped.labels)))
        elif self.session.segmentation is None:
            mask = layers.segmentation_of(found[0])
            self._show_mask(current, (mask, reading.checksum(mask.labels)))

    def _open(self, made: reading.Opened, adopt: bool = False) -> None:
        """Show a study that was read. ``adopt``: its layers are in the viewer already."""
        token, study = made.study.token, made.study.study
        self._put_away(token)
        kept = self.session.take_kept(token)
        segmentation, saved = (kept.segmentation, kept.saved) if kept else (made.segmentation, made.saved)
        self._notes, self._model_file = (kept.notes, kept.model) if kept else ({}, None)
        with self._changing_layers():
            wanted = set(layers.image_layers(self.viewer, study.id).values()) if adopt else set()
            wanted |= set(layers.labels_layers(self.viewer, study.id)[:1]) if adopt else set()
            for layer in [x for x in self.viewer.layers if layers.layer_study_id(x) and x not in wanted]:
                self.viewer.layers.remove(layer)
            if not adopt:
                layers.add_study(self.viewer, study)
            self.session.open(made.study, segmentation, saved=saved)
        self._tell_opened(made, kept is not None)
        self.warm()

    def _tell_opened(self, made: reading.Opened, kept: bool) -> None:
        study = made.study.study
        if made.trouble:
            self.session.say(made.trouble, Kind.ERROR)
        elif kept:
            self.session.say(f"The segmentation of {study.id} that was not saved yet is back.", Kind.GOOD)
        else:
            self.session.say(f"{study.id} is open{', with its mask' if made.segmentation is not None else ''}.")

    def _reassign(self, current: OpenStudy, made: reading.Opened) -> None:
        if self.session.study is not current:
            return
        labels, study = self.labels, made.study.study
        with self._changing_layers():
            for layer in layers.image_layers(self.viewer, current.study.id).values():
                self.viewer.layers.remove(layer)
            if labels is not None and not study.reference.grid.same_as(current.study.reference.grid):
                self._put_away("")
                self.viewer.layers.remove(labels)
                self.session.clear()
                labels = None
            layers.add_study(self.viewer, study)
            if labels is not None:
                self.viewer.layers.move(self.viewer.layers.index(labels), len(self.viewer.layers))
            self.session.reassign(made.study)
        self.session.say("")
        self.warm()

    def _show_mask(self, current: OpenStudy, mask: tuple[Segmentation, int]) -> None:
        if self.session.study is not current:
            return
        if current.truth is None:
            self.session.reassign(reading.replace_truth(current, mask[0]))
        self._notes = {}
        with self._changing_layers():
            self.session.deliver(mask[0], saved=mask[1])
        name = mask[0].path.name if mask[0].path else "The mask"
        self.session.say(f"{name} is open as the labels of {current.study.id}.")

    def _put_away(self, next_token: str) -> None:
        """Keep what is not in a file yet before another study takes the place."""
        current, labels = self.session.study, self.labels
        if current is not None and labels is not None and self.session.dirty and current.token != next_token:
            shown, saved = layers.segmentation_of(labels), self.session.saved_digest
            delivered = self.session.segmentation
            edited = delivered is None or not np.array_equal(shown.labels, delivered.labels)
            notes = {**self._notes, "edited": True} if edited else self._notes
            self.session.keep(current.token, Kept(shown, saved, notes, self._model_file))

    def warm(self) -> None:
        """Have the worker load the model before it is needed."""
        model = self.session.model
        if model is not None and model.card is not None and self.session.study is not None and self.session.job is None:
            self._runner.warm(model.path, self.session.device, False)
