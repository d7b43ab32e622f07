"""Models of other programs → model files of this one, once; afterwards nothing of theirs is needed any more.

Known are MONAI bundles, folders of nnU-Net v2, checkpoints of Swin UNETR (BraTS 2021) and of Auto3DSeg, ONNX, and plain
weights of a recipe's network. Nothing in a file is ever run: weights are read as tensors, configurations as data, archives
within limits; what cannot be understood so is refused by name.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import BrainsegError, CheckpointError
from brainseg_engine.models.importers import auto3dseg, bundle, nnunet, onnx, swin, unpacking
from brainseg_engine.models.importers.weights import fit, import_model
from brainseg_engine.models.importers.writing import Foreign, ImportOptions, place, refuse_own, write

__all__ = ["ImportOptions", "fit", "import_foreign", "import_model"]


def import_foreign(source: Path, options: ImportOptions) -> Path:
    """Bring another program's model into the user's models folder; returns its file.

    ``source``: a folder, a ``.zip``, or a file; what it is shows by what lies in it. Raises CheckpointError for one that is
    damaged, unsafe, of another task, or that cannot be understood; OutputError for a name that is taken.
    """
    place(options.name, options.force)
    refuse_own(source)
    with ExitStack() as stack:
        folder = unpacking.unpacked(source, stack) if unpacking.is_packed(source) else source
        try:
            return write(_found(folder, source, options), options)
        except BrainsegError:
            raise
        except Exception as e:  # a value of another kind than its program writes: AttributeError, KeyError, TypeError …
            raise CheckpointError(
                f"{source} cannot be understood: its configuration is damaged, or of a version that is not known here "
                f"({type(e).__name__}: {str(e)[:200]}). Fetch it again."
            ) from e


def _found(at: Path, source: Path, options: ImportOptions) -> Foreign:
    """The model at that place, by the one importer that knows it."""
    if at.is_dir():
        importer: Any
        for importer in (bundle, nnunet, swin, auto3dseg, onnx):
            inner = importer.found_in(at)
            if inner is not None:
                found: Foreign = importer.read(inner, source, options)
                return found
        raise CheckpointError(
            f"{source} is no model that is known: neither a MONAI bundle (configs/metadata.json), nor a folder of nnU-Net v2 "
            "(plans.json, dataset.json, fold_0), nor a checkpoint of Swin UNETR or Auto3DSeg, nor ONNX. Name the folder "
            "that holds these, or a checkpoint with its --recipe."
        )
    if at.suffix == ".onnx":
        return onnx.read(at, source, options)
    if swin.knows(at):
        return swin.read(at, source, options)
    if auto3dseg.knows(at):
        return auto3dseg.read(at, source, options)
    raise CheckpointError(
        f"What network the weights in {source} are of does not show. Name the recipe of its system: --recipe NAME; or give the "
        "folder of the whole model (MONAI bundle, nnU-Net results)."
    )
