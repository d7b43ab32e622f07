"""The tables of `napari-brainseg evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainseg_engine.cli.printing import console

if TYPE_CHECKING:
    from rich.table import Table

    from brainseg_engine.core.stats import Estimate
    from brainseg_engine.evaluation import Comparison, Evaluation, Paired
    from brainseg_engine.scores.scorer import Metric

_NONE = "–"


def print_scores(result: Evaluation, title: str = "") -> None:
    """Dice and HD95 of each case, then the means of all metrics with their intervals."""
    out = console()
    out.print(_cases(result, title))
    if result.seen_in_training:
        out.print("* seen in training: the model was fitted to this case.")
    out.print(_means(result))


def print_comparison(comparison: Comparison, names: tuple[str, str]) -> None:
    """The paired differences, and how to read them."""
    out = console()
    out.print(_differences(comparison, names), markup=False)
    out.print(_reading(comparison, names), markup=False)


def _table(title: str = "") -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _cases(result: Evaluation, title: str) -> Table:
    from brainseg_engine.core.labels import Region

    table = _table(title)
    table.add_column("\ncase", overflow="fold", min_width=14)
    for heading, unit in (("Dice", ""), ("HD95", " mm")):
        for region in Region:
            table.add_column(f"{heading}\n{region}{unit}", justify="right", no_wrap=True)

    def row(name: str, case: str) -> list[str]:
        score = result.mean if case == "" else result.cases[case]
        dice = [_number(score[r].dice, 3) for r in Region]
        return [name, *dice, *(_number(score[r].hd95_mm, 1) for r in Region)]

    for case in result.cases:
        table.add_row(*row(f"{case} *" if case in result.seen_in_training else case, case))
    table.add_section()
    table.add_row(*row(f"mean of {len(result.cases)}", ""), style="bold")
    return table


def _means(result: Evaluation) -> Table:
    from brainseg_engine.core.labels import Region
    from brainseg_engine.scores.scorer import METRICS, Metric

    table = _table()
    table.add_column("mean over cases\n(95 % interval)", overflow="fold")
    for region in Region:
        table.add_column(f"\n{region}", justify="right", overflow="fold")
    for key, metric in METRICS.items():
        estimates = [result.summary[region][key] for region in Region]
        heading = f"{metric.heading}, {result.nsd_mm:g} mm" if key == "surface_dice" else metric.heading
        table.add_row(heading, *(_estimate(e, metric, len(result.cases)) for e in estimates))
    for name in result.own:
        values = [result.own_estimate(name, region) for region in Region]
        table.add_row(name, *(_estimate(e, Metric(name, name), len(result.cases)) for e in values))
    return table


def _estimate(e: Estimate, metric: Metric, cases: int) -> str:
    """``0.852 (0.781–0.905)``, and over how many cases where not all."""
    text = _number(e.mean, metric.digits)
    if e.interval is not None:
        dash = " to " if e.interval[0] < 0 else "–"
        text += f" ({_number(e.low, metric.digits)}{dash}{_number(e.high, metric.digits)})"
    return text if e.n in (0, cases) else f"{text} n={e.n}"


def _differences(comparison: Comparison, names: tuple[str, str]) -> Table:
    from brainseg_engine.scores.scorer import METRICS

    table = _table(f"{names[0]} against {names[1]}, {len(comparison.cases)} cases")
    table.add_column("", overflow="fold")
    short = names if max(map(len, names)) <= 14 else ("first", "second")
    for heading in ("", *short):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for heading in ("difference (95 % interval)", "better / worse / equal", "p (Holm)"):
        table.add_column(heading, justify="right", overflow="fold")
    for region, of_region in comparison.regions.items():
        for key, paired in of_region.items():
            table.add_row(METRICS[key].heading, region.value, *_row(paired, METRICS[key]))
        table.add_section()
    return table


def _row(p: Paired, metric: Metric) -> list[str]:
    digits = metric.digits
    difference = _NONE if p.difference is None else f"{p.difference:+z.{digits}f}"
    if p.low is not None and p.high is not None:
        difference += f" ({p.low:+z.{digits}f} to {p.high:+z.{digits}f})"
    sides = f"{p.better} / {p.worse} / {p.equal}" if p.n else _NONE
    tested = _NONE if p.p is None else f"{_p(p.p)} ({_p(p.p_holm)})"
    return [_number(p.first, digits), _number(p.second, digits), difference, sides, tested]


def _reading(comparison: Comparison, names: tuple[str, str]) -> str:
    from brainseg_engine.core.stats import FEWEST_FOR_TEST

    text = f"Differences are {names[0]} minus {names[1]}; better and worse count the cases of {names[0]}."
    if not comparison.tests:
        return f"{text} No test was made: at least {FEWEST_FOR_TEST} cases must differ."
    return (
        f"{text} p: paired Wilcoxon signed-rank test, two-sided, and in brackets adjusted by Holm for the "
        f"{comparison.tests} tests of this table. –: fewer than {FEWEST_FOR_TEST} cases differ."
    )


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:z.{digits}f}"


def _p(value: float | None) -> str:
    if value is None:
        return _NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"
