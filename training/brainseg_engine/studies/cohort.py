"""Data folders and stored splits: which case is for training, which for validation, and that no patient is in both."""

from __future__ import annotations

import csv
import hashlib
import io as text
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brainseg_engine.core.errors import InputError, TrainingError
from brainseg_engine.io import decathlon, find_studies
from brainseg_engine.io.sessions import kept_apart, name_of, patient_in

SUBSETS = ("train", "validation", "test")
Fold = int | Literal["all"]

_PATIENTS = (
    r"(?P<patient>brats-[a-z]+-\d+)-\d{3}",  # BraTS 2023 and later: -<time point>
    r"(?P<patient>brats1[789]_.+)_\d+",  # BraTS 2017 to 2019: _<number of the scan>
    r"(?P<patient>tcga[_-]\w\w[_-]\w{4})[_-]\d{8}",  # the LGG slices: _<date>
    r"(?P<patient>upenn-gbm-\d+)_\d+",
    r"(?P<patient>sub-[a-z0-9]+)_ses-[a-z0-9]+.*",  # BIDS
)
"""How data sets name several cases of one patient. Of other names each is a patient."""


_GROUPS = {"hgg", "lgg", "train", "training", "validation", "val", "test", "testing", "data"}
"""Folders of a data set that are no patients."""


@dataclass(frozen=True)
class CohortCase:
    """One case of a data folder; ``source`` is what ``load_study`` takes."""

    name: str
    source: Path
    folder: str = ""
    """Of the data folder, the path that the case's own folder lies in."""
    repeated: bool = False
    """Whether other folders hold a case of this folder's name, so that they must be of different patients."""

    @property
    def patient(self) -> str:
        """Whose it is, as far as the name tells, else the folders."""
        if self.repeated and self.folder:
            own = name(self.source)
            return patient_of(own) if self.folder.lower() in _GROUPS else self.folder
        return patient_of(self.name)


def name(source: Path) -> str:
    """What a split calls the case: the name of its folder, or of its image without the ending."""
    return decathlon.case_name(source) if source.is_file() else name_of(source)


def patient_of(case: str) -> str:
    """The patient that a case's name tells: ``BraTS-GLI-00001-001`` → ``BraTS-GLI-00001``."""
    match = next((m for pattern in _PATIENTS if (m := re.fullmatch(pattern, case, re.IGNORECASE))), None)
    return match["patient"] if match else patient_in(case) or case


def list_cases(data: Path) -> list[CohortCase]:
    """The cases of a data folder of any known layout, sorted by name.

    BraTS study folders (also below HGG and LGG), the Decathlon's images, folders of slices. Raises InputError for a
    folder that is absent or without cases. Names that repeat are paths below the data folder.
    """
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}.")
    plain = {source: name(source) for source in find_studies(data)}
    named = kept_apart(plain)
    root = data.resolve()
    cases = {
        n: CohortCase(n, source, "_".join(source.resolve().relative_to(root).parts[:-1]), n != plain[source])
        for source, n in named.items()
    }
    if not cases:
        raise InputError(
            f"{data} holds no case. Known are BraTS study folders, the Decathlon's Task01 (imagesTr with dataset.json) and "
            "folders of image slices."
        )
    return [cases[n] for n in sorted(cases)]


def cases(data: Path, split: Mapping[str, str], subset: str, elsewhere: Mapping[str, Path] | None = None) -> list[Path]:
    """What ``load_study`` takes of each case of one subset, sorted by name. ``elsewhere``: cases that lie outside ``data``.

    Raises TrainingError naming those absent.
    """
    wanted = sorted(n for n, s in split.items() if s == subset)
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}.")
    sources: dict[str, Path] = dict(elsewhere or {})
    plain = {source: name(source) for source in find_studies(data)}
    named = kept_apart(plain)
    for n in wanted:
        alike = [named[source] for source, p in plain.items() if p == n != named[source]]
        if alike:
            raise TrainingError(
                f"The split names '{n}', and there are {len(alike)} of that name: call them {' and '.join(alike)} in it."
            )
    for source, n in named.items():
        if n in sources and n in wanted:
            raise TrainingError(
                f"The split names '{n}', and there are two of that name: {source} and {sources[n]}. Rename one of them."
            )
        sources[n] = source
    absent = [n for n in wanted if n not in sources]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise TrainingError(f"The split names cases that are not in {data}: {', '.join(absent[:3])}{more}.")
    return [sources[n] for n in wanted]


def read_split(path: Path, fold: Fold | None = None) -> dict[str, str]:
    """A stored split: case → train, validation or test.

    CSV with a column ``case`` (or ``patient``, where each has one case) and either a column ``split`` of train, validation
    or test, or a column ``fold`` of 0, 1, … or test. Of folds, the one given is the validation, the others train; with
    "all" every case that is not test trains. A column ``patient`` beside ``case`` tells whose case it is, else its name
    does (:func:`patient_of`). Raises TrainingError: a case named twice, an unknown subset or fold, a patient on two sides.
    """
    rows = _rows(path)
    key = "case" if "case" in rows[0] else "patient"
    split: dict[str, str] = {}
    patients: dict[str, str] = {}
    chosen = _folds(path, rows, fold)
    for number, row in enumerate(rows, start=2):
        case = (row[key] or "").strip()
        subset = _subset(row, chosen)
        if not case:
            raise TrainingError(f"{path}, line {number}: it names no case.")
        if subset not in SUBSETS:
            raise TrainingError(
                f"{path}, line {number}: the split of '{case}' is '{subset}'; it must be one of {', '.join(SUBSETS)}."
            )
        if case in split:
            again = "twice" if split[case] == subset else f"both in {split[case]} and in {subset}"
            raise TrainingError(
                f"{path}, line {number}: '{case}' stands there {again}; each case belongs to one subset."
            )
        split[case] = subset
        stated = (row.get("patient") or "").strip() if key == "case" else ""
        patients[case] = stated or patient_of(case)
    _require_whole_patients(path, split, patients)
    return split


def holds_folds(path: Path) -> bool:
    """Whether a stored split divides the cases into folds alone, none of which is the validation yet. Raises TrainingError."""
    return "split" not in _rows(path)[0]


def patients_of(cases: Iterable[CohortCase], rule: str = "auto") -> dict[str, str]:
    """Case → patient: by names and folders (``auto``), each case one (``case``), the folder that the case's lies in
    (``folder``), or the first group of a regular expression in the case's name. Raises TrainingError for another rule."""
    cases = list(cases)
    if rule == "auto":
        return {c.name: c.patient for c in cases}
    if rule == "case":
        return {c.name: c.name for c in cases}
    if rule == "folder":
        return {c.name: c.folder or c.name for c in cases}
    try:
        pattern = re.compile(rule)
    except re.error as e:
        raise TrainingError(f"--patients '{rule}' is neither auto, case, folder nor a regular expression ({e}).") from e
    if not pattern.groups:
        raise TrainingError(
            f"--patients '{rule}': put the part of the name that is the patient in brackets, like '(P\\d+)_.*'."
        )
    patients = {c.name: m[1] if (m := pattern.search(c.name)) else "" for c in cases}
    alone = next((name for name, patient in patients.items() if not patient), None)
    if alone is not None:
        raise TrainingError(f"--patients '{rule}' finds no patient in the name '{alone}'.")
    return patients


def make_folds(
    names: Iterable[str], folds: int, test: float = 0.0, seed: int = 0, patients: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Case → its fold ("0", "1", …) or "test": patients whole, the folds as equal in cases as patients allow.

    The same names and seed give the same answer, on every machine. Raises TrainingError when there are too few patients.
    """
    groups = _shuffled(names, seed, patients)
    held, rest = _take(groups, test)
    if folds < 2 or len(rest) < folds:
        raise TrainingError(
            f"{len(rest)} patients cannot be divided into {folds} folds. Ask for 2 to {len(rest)} of them."
        )
    sizes = [0] * folds
    fold_of = {case: "test" for group in held for case in group}
    for group in sorted(rest, key=len, reverse=True):  # the largest first, each to the emptiest fold
        fold = sizes.index(min(sizes))
        sizes[fold] += len(group)
        fold_of |= dict.fromkeys(group, str(fold))
    return dict(sorted(fold_of.items()))


def make_split(
    names: Iterable[str],
    validation: float,
    test: float = 0.0,
    seed: int = 0,
    patients: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Case → train, validation or test: patients whole, shares of the cases. Deterministic as :func:`make_folds`.

    Raises TrainingError when nothing would be left to train on, or a share is given and no patient is left for it.
    """
    groups = _shuffled(names, seed, patients)
    held, rest = _take(groups, test)
    checked, trained = _take(rest, validation, of=sum(map(len, groups)))
    if not trained or (validation > 0 and not checked):
        raise TrainingError(
            f"{len(groups)} patients are too few for a validation share of {validation:g} and a test share of {test:g}. Lower "
            "the shares, or add cases."
        )
    side_of = {
        c: s for s, part in (("test", held), ("validation", checked), ("train", trained)) for g in part for c in g
    }
    return dict(sorted(side_of.items()))


def split_text(column: str, split: Mapping[str, str], patients: Mapping[str, str] | None = None) -> str:
    """The CSV text of a split: case, patient, and the ``column`` "split" or "fold"."""
    out = text.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["case", "patient", column])
    writer.writerows(
        [case, (patients or {}).get(case) or patient_of(case), value] for case, value in sorted(split.items())
    )
    return out.getvalue()


def _rows(path: Path) -> list[dict[str, str | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            rows: list[dict[str, str | None]] = list(csv.DictReader(f))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        why = e.strerror if isinstance(e, OSError) else f"it is no CSV text ({e})"
        raise TrainingError(f"Cannot read the split file {path}: {why}.") from e
    if not rows or not {"case", "patient"} & rows[0].keys() or not {"split", "fold"} & rows[0].keys():
        raise TrainingError(
            f"The split file {path} needs the columns 'case' and 'split' (or 'fold') and at least one row."
        )
    return rows


def _folds(path: Path, rows: Sequence[Mapping[str, str | None]], fold: Fold | None) -> Fold | None:
    """The fold that was asked for, checked; None where the column ``split`` counts."""
    if fold is None and "split" in rows[0]:
        return None
    if "fold" not in rows[0]:
        if fold == "all":
            return fold
        raise TrainingError(f"{path} has no column 'fold', so there is no fold {fold} in it. Leave the fold out.")
    values = set()
    for number, row in enumerate(rows, start=2):
        if _is_test(row):
            continue
        value = (row["fold"] or "").strip()
        if not value.isdecimal():
            raise TrainingError(f"{path}, line {number}: the fold is '{value}'; it must be 0, 1, … or test.")
        values.add(int(value))
    known = ", ".join(str(v) for v in sorted(values))
    if fold is None:
        raise TrainingError(f"{path} holds folds. Say which of them is the validation ({known}), or all.")
    if fold != "all" and fold not in values:
        raise TrainingError(f"{path} has no fold {fold}; it has {known or 'none'}.")
    return fold


def _subset(row: Mapping[str, str | None], fold: Fold | None) -> str:
    if fold is None:
        return (row["split"] or "").strip()
    if _is_test(row):
        return "test"
    if "fold" not in row:
        subset = (row["split"] or "").strip()
        return "train" if subset in SUBSETS else subset
    return "train" if fold == "all" or int(row["fold"] or 0) != fold else "validation"


def _is_test(row: Mapping[str, str | None]) -> bool:
    return "test" in ((row.get("fold") or "").strip(), (row.get("split") or "").strip())


def _require_whole_patients(path: Path, split: Mapping[str, str], patients: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for case, subset in split.items():
        other = first.setdefault(patients[case], case)
        if split[other] != subset:
            raise TrainingError(
                f"{path} has the patient {patients[case]} both in {split[other]} ({other}) and in {subset} ({case}), so the "
                "scores would flatter. Put all cases of a patient on one side."
            )


def _shuffled(names: Iterable[str], seed: int, patients: Mapping[str, str] | None = None) -> list[list[str]]:
    """The cases of each patient, the patients in an order that only names and seed decide."""
    groups: dict[str, list[str]] = {}
    for case in sorted(set(names)):
        groups.setdefault((patients or {}).get(case) or patient_of(case), []).append(case)
    return [groups[p] for p in sorted(groups, key=lambda p: hashlib.sha256(os.fsencode(f"{seed}:{p}")).digest())]


def _take(groups: list[list[str]], share: float, of: int | None = None) -> tuple[list[list[str]], list[list[str]]]:
    """The first patients, until they have that share of the cases, and the others. A share above 0 takes one at least."""
    wanted = share * (sum(map(len, groups)) if of is None else of)
    taken = 0
    for n, group in enumerate(groups):
        if not (share > 0 and taken == 0) and taken + len(group) / 2 > wanted:
            return groups[:n], groups[n:]
        taken += len(group)
    return groups, []
