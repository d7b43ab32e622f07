"""What was asked for, where its results lie, and whether a result that is there already is the one asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from brainseg_engine.core.errors import CodingError, OutputError
from brainseg_engine.core.events import CancelCheck, ProgressCallback
from brainseg_engine.core.labels import Label, Region, choices
from brainseg_engine.core.labels import coding as coding_named
from brainseg_engine.core.study import Prediction, Study
from brainseg_engine.inference.ledger import Files, LedgerEntry
from brainseg_engine.io import Layout, Series
from brainseg_engine.io.derived.pseudonyms import Pseudonyms
from brainseg_engine.io.sidecars import read_sidecar, sidecar_state
from brainseg_engine.models.checkpoint import Card
from brainseg_engine.prepare import PrepareOptions
from brainseg_engine.recipe import Recipe
from brainseg_engine.studies.assignment import Wanted
from brainseg_engine.studies.incoming import ANY, Which

_DIFFERENCE = {
    "model": "another model",
    "model_version": "another model",
    "model_sha256": "another model",
    "coding": "another label coding",
    "tta": "another --tta setting",
    "images": "other images",
    "on": "another --on grid",
    "preparing": "another way of preparing",
}
"""What a result's sidecar tells → how a difference in it is named."""


@dataclass(frozen=True)
class PredictSettings:
    """What the caller chose. ``assign``: series named by hand, for every study; ``prepare``: how a raw study is made ready,
    None to take every study as it is; ``on``: the grid the mask lies on (see :func:`brainseg_engine.inference.raw.answer`);
    ``preview``: a picture beside it; ``pseudonyms``: nothing that is written tells whose it is."""

    out: Path
    coding: str | None = None
    probabilities: bool = False
    overwrite: bool = False
    like_input: bool = False
    assign: Wanted = field(default_factory=dict)
    prepare: PrepareOptions | None = field(default_factory=PrepareOptions)
    on: str = ""
    preview: bool = False
    pseudonyms: Pseudonyms | None = None
    check_contents: bool = False
    """Read and compare every image of a study that is done, also where the file system says that none has changed."""
    which: Which = ANY
    """Of several patients and visits in one place."""


class DecidingModel(Protocol):
    """What of a model decides an answer."""

    card: Card
    recipe: Recipe
    sha256: str
    tta: bool


class Answers(DecidingModel, Protocol):
    """A model that answers: a :class:`~brainseg_engine.inference.predictor.Predictor`, or one on another machine."""

    def predict(
        self, study: Study, *, progress: ProgressCallback = ..., cancelled: CancelCheck = ..., probabilities: bool = ...
    ) -> Prediction:
        """Labels on the grid of the study's reference series."""


def slices_folder(mask: Path) -> Path:
    """Where the masks of slices lie, beside the one of the whole study."""
    return mask.with_name(mask.name.removesuffix("_seg.nii.gz"))


def preview_path(mask: Path) -> Path:
    """Where the preview of a mask lies."""
    return mask.with_name(mask.name.removesuffix("_seg.nii.gz") + "_preview.png")


def probability_path(mask: Path, region: Region) -> Path:
    """Where a region's probabilities lie."""
    return mask.with_name(mask.name.removesuffix("_seg.nii.gz") + f"_prob-{region}.nii.gz")


def coding_of(model: DecidingModel, name: str) -> str:
    """The coding's name. Raises CodingError before the inference when it cannot express what the model gives."""
    coding = coding_named(name)
    gives = {Label.TUMOUR} if _wt_only(model) else {Label.NCR, Label.ED, Label.ET}
    if not gives <= set(coding.writes):
        raise CodingError(
            f"The coding '{coding.name}' ({coding.description}) cannot express what the model '{model.card.name}' gives; "
            + choices()
        )
    return coding.name


def identity(model: DecidingModel, images: Mapping[str, str], coding: str, settings: PredictSettings) -> dict[str, Any]:
    """What must be equal for a result to count as done; ``images``: modality → SHA-256 of its voxels, ``coding`` the study's."""
    secret = settings.pseudonyms
    return {
        "model": model.card.name,
        "model_version": model.card.version,
        "model_sha256": model.sha256,
        "coding": coding_of(model, settings.coding or ("lgg" if _wt_only(model) else coding or "brats2023")),
        "tta": model.tta,
        "images": {
            m.value: images[m.value] if secret is None else secret.digest(images[m.value])
            for m in model.recipe.modalities
            if m.value in images
        },
    }


def way(options: PrepareOptions | None, settings: PredictSettings) -> dict[str, Any]:
    """How the answer came to its grid, as far as it is not the ordinary way; it must be equal for a result to count."""
    on = {"on": settings.on} if settings.on else {}
    return on | ({} if options is None else {"preparing": options.to_dict()})


def done_before(
    path: Path, model: DecidingModel, wanted: Mapping[str, Any], settings: PredictSettings
) -> dict[str, Any] | None:
    """The volumes of an equal result that is there already (as a row tells them), else None. Raises OutputError when another
    result is."""
    if not path.exists() or settings.overwrite:
        return None
    if sidecar_state(path) == "torn":  # a kill came between the two names: the sidecar says what was being written
        return None
    if sidecar_state(path) == "changed":
        raise OutputError(f"{path} exists and was changed since it was made. Add --overwrite to replace it or name another "
                          "--out folder.")  # fmt: skip
    earlier = read_sidecar(path)
    other = [_DIFFERENCE.get(k, k) for k, v in wanted.items() if earlier.get(k) != v]
    if other:
        raise OutputError(
            f"{path} exists and was made with {' and '.join(dict.fromkeys(other))}. Add --overwrite to replace it "
            "or name another --out folder."
        )
    asked = model.recipe.output.regions if settings.probabilities else ()
    if not all(probability_path(path, region).exists() for region in asked):
        return None  # the mask is there, what was asked for beside it is not
    if settings.like_input and not slices_folder(path).is_dir():
        return None
    if settings.preview and not preview_path(path).exists():
        return None
    return volumes_in(earlier)


def known_to_be_done(
    path: Path, model: DecidingModel, series: Series, files: Files, known: LedgerEntry, settings: PredictSettings
) -> dict[str, Any] | None:
    """As :func:`done_before`, without reading an image: None also where the images may have changed since ``known``."""
    if (
        not files
        or files != known.files
        or not path.exists()
        or settings.check_contents
        or series.layout is Layout.SLICES
    ):
        return None
    options = settings.prepare if known.raw else None
    wanted = identity(model, known.images, series.coding, settings) | way(options, settings)
    if known.raw is False and "preparing" in read_sidecar(path):
        return None
    return done_before(path, model, wanted, settings)


def volumes_in(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """The volumes that a sidecar tells, and the confidence, as fields of a row."""
    intervals = sidecar.get("volume_intervals_ml") or {}
    limits = {f"volumes_{end}_ml": {r: i[n] for r, i in intervals.items()} for n, end in enumerate(("low", "high"))}
    volumes = {key: sidecar.get(key) or {} for key in ("volumes_ml", "volumes_voxels")}
    return volumes | limits | {"confidence": sidecar.get("confidence")}


def _wt_only(model: DecidingModel) -> bool:
    return set(model.recipe.output.regions) == {Region.WT}
