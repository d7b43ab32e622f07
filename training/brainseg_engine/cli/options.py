"""Options and arguments that several commands take, each declared once.

Those of one theme stand with what they mean: ``assigning``, ``deidentifying``, ``cohort_options``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
DeviceAnywhereOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, or ssh:HOST for another machine (see 'device check').")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="Model name (see 'models') or file; default: see 'models default'.", show_default=False
    ),
]

# --- of results: reports, exports, pictures

ResultsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULT", help="Masks, folders of masks, or studies with a mask in them.", show_default=False
    ),
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="The study of a mask, or a folder of studies with the masks' ids.")
]
ResultCodingOption = Annotated[
    str | None, typer.Option("--coding", help="Label coding of the masks, where nothing tells it.")
]

# --- of training: train, sweep, finetune, data prepare

RecipeArgument = Annotated[
    str, typer.Argument(help="A bundled recipe, like baseline, or a TOML file.", show_default=False)
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help="Of the recipe, like as_published; default: its first.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change the recipe, like optimiser.learning_rate=3e-4; repeatable."
    ),
]
DataOption = Annotated[Path, typer.Option("--data", help="Data folder of a known layout, with masks.")]
CasesOption = Annotated[
    Path, typer.Option("--split", help="CSV with the columns case,split or case,fold (see data split).")
]
FoldOption = Annotated[
    str | None, typer.Option("--fold", help="Of a split in folds: the one held out, or 'all' to hold none out.")
]
MaskCodingOption = Annotated[
    str | None, typer.Option("--coding", help="Label coding of the masks, like brats2021; default: by naming.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue the run in the --out folder.")]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that prepare samples; the result does not depend on it.")
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of preprocessed volumes; default: the user's.")
]
