"""Accepted corrections in the layouts that other tools read. Nothing of the machine goes with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brainseg_engine.core import outputs, plain, records
from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.names import inside, require_inside
from brainseg_engine.core.paths import atomic
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.corrections import readme, sources
from brainseg_engine.corrections.record import Correction
from brainseg_engine.io import load_study, save_segmentation, save_volume

if TYPE_CHECKING:
    from brainseg_engine.corrections.store import Store

LAYOUTS = ("brats", "bids")

_ENDINGS = {Modality.T1: "t1n", Modality.T1CE: "t1c", Modality.T2: "t2w", Modality.FLAIR: "t2f"}


def export(
    store: Store, out: Path, layout: str = "brats", *, coding: str | None = None, images: bool = False
) -> list[Path]:
    """Write the newest accepted version of each study into ``out``; returns the masks written.

    ``brats``: ``<label>/<label>-seg.nii.gz`` in ``coding`` (brats2023, with a resection cavity brats2024), and with
    ``images`` the four series beside it under headers of our own, so that the folder can be trained on. ``bids``: the
    versions as they are, without the log. Never copied: ``sources.local.json`` and what else is this machine's own.
    Raises OutputError, InputError when the images are not at hand, CodingError when the coding lacks a class.
    """
    if layout not in LAYOUTS:
        raise InputError(f"There is no layout '{layout}'; the choices are {', '.join(LAYOUTS)}.")
    out = Path(out)
    if out.resolve() == store.path.resolve():
        raise OutputError(f"{out} is the folder of the corrections itself. Choose another.")
    outputs.claim(out, outputs.Use.CASES, made_before=_made_before)
    latest = sorted(store.latest().values(), key=lambda c: c.id)
    if layout == "bids":
        readme.prepare(out)
        return [_as_it_is(c, store.path, out) for c in latest]
    return [_brats(store, c, out, coding, images) for c in latest]


def _as_it_is(c: Correction, root: Path, out: Path) -> Path:
    target = _place(out, *c.mask.relative_to(root).parts)
    for file in (c.mask, c.sidecar, c.log, *([c.writers] if c.writers_sha256 else [])):
        try:
            require_inside(root, file)
            content = plain.read(file)
        except (OSError, ValueError) as e:
            why = (e.strerror if isinstance(e, OSError) else None) or e
            raise InputError(
                f"The correction '{c.id}' cannot be exported: {file}: {why}. Put the file itself there."
            ) from e
        with atomic(target.with_name(file.name)) as part:
            part.write_bytes(content)
    return target


def _place(out: Path, *names: str) -> Path:
    """The file below ``out``, its folder made. Raises OutputError."""
    try:
        target = inside(out, *names)
        target.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as e:
        why = (e.strerror if isinstance(e, OSError) else None) or e
        raise OutputError(f"Cannot write into {out}: {why}. Choose another folder.") from e
    return target


def _made_before(out: Path) -> bool:
    """Whether version 0.1 exported into that folder, which it did not mark: all that lies there is a store, or cases whose
    records name their corrections."""
    if readme.is_store(out):
        return True
    children = [p for p in out.iterdir() if not p.name.startswith(".")]
    try:
        return bool(children) and all("correction" in records.read_object(p / f"{p.name}-seg.json") for p in children)
    except (OSError, ValueError):
        return False


def _brats(store: Store, c: Correction, out: Path, coding: str | None, images: bool) -> Path:
    label = c.mask.name.partition("_")[0].removeprefix("sub-")
    study = study_of(c) if images else None
    mask = store.read(c)
    own = coding or ("lgg" if c.coding == "lgg" else "brats2024" if (mask.labels == 4).any() else "brats2023")
    path = _place(out, label, f"{label}-seg.nii.gz")
    save_segmentation(mask, path, coding=own, sidecar={"made_by": c.made_by, "correction": c.id})
    for m, volume in (study.volumes if study is not None else {}).items():
        save_volume(volume.data, volume.grid, path.with_name(f"{label}-{_ENDINGS[m]}.nii.gz"))
    return path


def study_of(c: Correction) -> Study:
    """The study of a correction, from where this machine knows its images to be; they must be those corrected.

    Raises InputError where they are not at hand or differ.
    """
    from brainseg_engine.corrections.identity import key_of, study_key

    source = sources.source_of(c.study)
    if source is None or not source.there:
        raise InputError(f"The images of the correction '{c.id}' are not known on this machine. Open the study once.")
    study = load_study(source.files, id=source.study_id, segmentation=False)
    if study_key(study) != key_of(c.images):
        raise InputError(f"The study of the correction '{c.id}' has changed since it was corrected "
                         f"({source.folder or source.study_id}).")  # fmt: skip
    return study
