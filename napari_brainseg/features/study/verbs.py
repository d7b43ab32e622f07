"""Opening: studies, masks, other files as a series, and what a person drops onto the canvas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.study import Modality, Segmentation, Study
from napari_brainseg.display import layers
from napari_brainseg.display.axes import laid_out
from napari_brainseg.features.context import Context
from napari_brainseg.features.study import reading
from napari_brainseg.session import Answer, Kind, OpenStudy

if TYPE_CHECKING:
    from napari.layers import Layer


class StudyVerbs:
    """What the buttons of the study section mean."""

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self._removed: Layer | None = None
        self._dropped = context.later(0.0, self.notice_layers)
        context.follow(context.session.open_requested, self.open)
        context.follow(context.session.prepared, self._open_prepared)
        for event in (context.viewer.layers.events.inserted, context.viewer.layers.events.removed):
            context.follow(event, self._on_layers)

    def open(self, source: reading.Source, coding: str | None = None) -> None:
        """Open a study folder, or files picked by hand. The one that is open stays until the new one is read; what has to be
        prepared first is listed instead."""
        name = source.name if isinstance(source, Path) else source[0].name if source else "nothing"
        self._context.read(f"Reading {name} …", partial(reading.read, source, coding), partial(self._take, source))

    def open_sample(self, folder: Callable[[], Path]) -> None:
        """Open the study in the folder that ``folder()`` gives (it may take its time to make it)."""

        def work() -> tuple[Path, reading.Opened | reading.AsAcquired]:
            made = folder()
            return made, reading.read(made)

        self._context.read("Preparing the sample …", work, lambda found: self._take(*found))

    def reassign(self, modality: Modality, path: Path | None) -> None:
        """Take another file as that modality (None: no file)."""
        current = self._session.study
        if current is not None and current.acquired is None:  # else the table of series tells which is which
            work = partial(reading.reassigned, current, modality, path)
            self._context.read(f"Reading {modality.title} …", work, partial(self._reassign, current))

    def load_mask(self, path: Path, coding: str | None = None) -> None:
        """Show the mask in that file as the study's labels."""
        current = self._session.study
        if current is None:
            self._session.say("Open the study first, then its mask.", Kind.WARNING)
            return

        def work() -> Answer:
            return reading.answer_of(reading.read_mask(path, current.study, coding, acquired=current.acquired))

        self._context.read(f"Reading {path.name} …", work, partial(self._show_mask, current))

    # --- what a person does to the layers

    def _on_layers(self, event: Any) -> None:
        if not self._context.changing_layers and layers.layer_info(event.value) is not None:
            self._removed = event.value if event.type == "removed" else None
            self._dropped.start()

    def notice_layers(self) -> None:
        """Layers came or went that were not our doing: open the study a person dropped, forget what was removed."""
        dropped = layers.study_of(self._viewer)
        current = self._session.study
        if dropped is None:
            if current is not None:
                self._session.close()
            return
        if current is not None and OpenStudy(dropped).token == current.token:
            self._notice_labels(current)
            return
        found = layers.labels_layers(self._viewer, dropped.id)
        mask = laid_out(layers.segmentation_of(found[0])) if found else None
        if current is not None and current.study.id != dropped.id:
            self._leave(dropped, OpenStudy(dropped).token)
        work = partial(reading.opened, dropped, reading.files_beside(dropped), mask=mask)
        self._context.read(f"Checking {dropped.id} …", work, partial(self._open, adopt=True))

    def _leave(self, dropped: Study, token: str) -> None:
        """What was open goes at once: its name and numbers are none of the images that were dropped."""
        self._put_away(token)
        with self._context.own_changes():
            for layer in [x for x in self._viewer.layers if layers.layer_study_id(x) not in (None, dropped.id)]:
                self._viewer.layers.remove(layer)
        self._session.close()

    def _notice_labels(self, current: OpenStudy) -> None:
        """A mask was dropped onto its study, or the labels were removed."""
        found = layers.labels_layers(self._viewer, current.study.id)
        if not found:
            answer, removed = self._session.answer, self._removed
            if answer is None:
                return
            steps = list(self._session.steps)
            if removed is not None and layers.layer_study_id(removed) == current.study.id:
                shown = layers.segmentation_of(removed)
                if not np.array_equal(shown.labels, answer.segmentation.labels):
                    answer = replace(
                        answer, segmentation=laid_out(shown), base=answer.origin, edited=True, saved=None, writers=None
                    )
            self._session.clear()
            back = partial(self._bring_back, current, answer, steps)
            self._session.say(
                f"The segmentation of {current.study.id} was taken off the list of layers.",
                Kind.WARNING,
                ("Bring it back", back),
            )
        elif len(found) > 1:
            dropped = layers.segmentation_of(found[0])
            with self._context.own_changes():
                self._viewer.layers.remove(found[0])
            try:
                dropped = reading.taken(dropped, current)
            except BrainsegError as e:
                self._session.say(str(e), Kind.ERROR)
                return
            self._show_mask(current, reading.answer_of(dropped))
        elif self._session.segmentation is None:
            self._show_mask(current, reading.answer_of(layers.segmentation_of(found[0])))

    def _bring_back(self, current: OpenStudy, answer: Answer, steps: Sequence[Mapping[str, Any]]) -> None:
        if self._session.study is current and self._session.answer is None:
            with self._context.own_changes():
                self._session.deliver(answer, steps)

    # --- showing what was read

    def _take(self, source: reading.Source, made: reading.Opened | reading.AsAcquired) -> None:
        """Show what was read, or have its series listed; those of a study with its skull on, both."""
        skull = isinstance(made, reading.Opened) and any(f.code == "skull" for f in made.study.findings)
        needs = skull or isinstance(made, reading.AsAcquired)
        listed = partial(self._session.series_requested.emit, source if needs else None)
        if isinstance(made, reading.Opened):
            self._open(made, then=listed)
        else:
            listed()

    def _open_prepared(self, study: OpenStudy) -> None:
        """Shown at once: whoever prepared it goes on with it, and segments it again."""
        made = reading.Opened(study, reading.answer_of(study.truth) if study.truth is not None else None)
        self._put_away(study.token)
        self._remove_others(study.study, adopt=False)
        self._show(made, layers.image_tuples(study.study))

    def _open(self, made: reading.Opened, adopt: bool = False, then: Callable[[], None] = lambda: None) -> None:
        """Show a study that was read, and do ``then``. ``adopt``: its layers are in the viewer already.

        What was open leaves first. The new images come from the background, so that the window answers in between.
        """
        study = made.study.study
        self._put_away(made.study.token)
        self._remove_others(study, adopt)
        if adopt:
            self._show(made, None)
            then()
            return

        def shown(images: list[layers.LayerTuple]) -> None:
            self._show(made, images)
            then()

        self._context.read(f"Showing {study.id} …", partial(layers.image_tuples, study), shown)

    def _remove_others(self, study: Study, adopt: bool) -> None:
        """Take the layers of other studies away, but for the images, which take the new ones; of an adopted one, those too."""
        wanted: set[Layer] = set(layers.image_layers(self._viewer, study.id if adopt else None).values())
        wanted |= set(layers.labels_layers(self._viewer, study.id)[:1]) if adopt else set()
        with self._context.own_changes():
            for layer in [x for x in self._viewer.layers if layers.layer_study_id(x) and x not in wanted]:
                self._viewer.layers.remove(layer)

    def _show(self, made: reading.Opened, images: list[layers.LayerTuple] | None) -> None:
        """Show it in those images; None: they are in the viewer already."""
        token, study = made.study.token, made.study.study
        self._put_away(token)  # an answer for what was open may have come meanwhile
        kept = self._session.kept.take(token)
        with self._context.own_changes():
            self._remove_others(study, images is None)
            if images is None:
                layers.settle([x for x in self._viewer.layers if layers.layer_study_id(x) == study.id])
            else:
                layers.show_study(self._viewer, study, images)
            self._session.open(made.study, kept or made.answer)
        if made.trouble:
            self._session.say(made.trouble, Kind.ERROR)
        elif kept is not None:
            self._session.say(f"The segmentation of {study.id} that was not saved yet is back.", Kind.GOOD)
        else:
            self._session.say(f"{study.id} is open{', with its mask' if made.answer is not None else ''}.")

    def _reassign(self, current: OpenStudy, made: reading.Opened) -> None:
        if self._session.study is not current:
            return
        labels, study = self._context.labels, made.study.study
        with self._context.own_changes():
            if labels is not None and not study.reference.grid.same_as(current.study.reference.grid):
                self._put_away("")
                self._viewer.layers.remove(labels)
                self._session.clear()
                labels = None
            layers.show_study(self._viewer, study)
            self._session.reassign(made.study)
        self._session.say("")
        files = made.study.files
        self._context.run(partial(reading.remember_names, study, files), lambda _: None, lambda _: None)

    def _show_mask(self, current: OpenStudy, answer: Answer) -> None:
        if self._session.study is not current:
            return
        mask: Segmentation = answer.segmentation
        if current.truth is None:
            self._session.reassign(reading.replace_truth(current, mask))
        with self._context.own_changes():
            self._session.deliver(answer)
        name = mask.path.name if mask.path else "The mask"
        self._session.say(f"{name} is open as the labels of {current.study.id}.")

    def _put_away(self, next_token: str) -> None:
        labels = self._context.labels
        if labels is not None and self._session.dirty:
            self._session.put_away(layers.segmentation_of(labels), next_token)
