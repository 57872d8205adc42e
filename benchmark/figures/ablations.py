"""What each part of a method brings.

A forest plot: test accuracy of each variant of a method less that of the full method, both within the compute of the
reference network, each run at its operating point of highest validation accuracy that fits. Marks are means over seeds,
lines their 95% intervals over seeds and samples, small points single seeds. Filled marks are differences that remain
after Holm's correction for all variants (p at most 0.05); hollow ones may be chance. The variant that loses most stands
at the bottom. A variant that lacks seeds says how many it has, and shows those without a mean. The scale is linear up
to one point and logarithmic beyond. On the right, the compute at that operating point.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.tables import ablations
from benchmark.analysis.variants import variants
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._palette import STATIC
from benchmark.figures._style import WIDTHS, Style, counts

DIFFERENCE, MACS = "accuracy", "MACs"
#: Differences up to this are drawn on a linear scale.
LINEAR = 0.01
#: The largest p, after Holm's correction, of a difference that is drawn filled.
SHOWN = 0.05
_TICKS = (-0.3, -0.1, -0.03, -0.01, 0.0, 0.01, 0.03, 0.1, 0.3)


def applies(configuration: Configuration) -> bool:
    """Where a method has variants."""
    return bool(variants(configuration.method_kinds))


def data(evidence: Evidence) -> pd.DataFrame:
    """The cells of the table `ablations` (`seed` missing), and each seed's own values (`seed` given)."""
    outcomes = evidence.outcomes
    if outcomes.points.empty:
        return outcomes.points
    metrics, cells = ablations(outcomes)
    bases = {variant: base for base, labels in variants(outcomes.kinds).items() for variant in labels}
    rows: list[tuple[object, ...]] = []
    for (dataset, method), row in cells.items():
        mine, theirs = (_fitting(outcomes, dataset, name, "accuracy") for name in (method, bases[method]))
        standard = np.mean([value for value in theirs if value is not None] or [np.nan])
        lost = [None if value is None or np.isnan(standard) else value - standard for value in mine]
        key = (dataset, method, bases[method])
        # The table leaves the full method's difference to itself empty; here it is a zero, as a place for its mark.
        if method == bases[method] and None not in lost:
            rows.append((*key, DIFFERENCE, None, 0.0, np.nan, np.nan, np.nan))
        p = row["p"].estimate.value if "p" in row and row["p"].estimate is not None else np.nan
        macs = _fitting(outcomes, dataset, method, "macs")
        for quantity, metric, values in ((DIFFERENCE, "difference", lost), (MACS, "macs", macs)):
            cell = row.get(metric)
            if cell is not None and cell.estimate is not None:
                rows.append((*key, quantity, None, cell.estimate.value, *cell.interval(metrics[metric]), p))
            seeds = zip(outcomes.seeds, values, strict=True)
            rows += [(*key, quantity, s, v, np.nan, np.nan, np.nan) for s, v in seeds if v is not None]
    columns = ["dataset", "method", "base", "quantity", "seed", "value", "low", "high", "p"]
    return outcomes.presented(pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"}))


def _fitting(outcomes: Outcomes, dataset: str, method: str, column: str) -> list[float | None]:
    """A column at each seed's best point within the reference's compute."""
    return outcomes.at(dataset, method, outcomes.within_reference(dataset, method), column)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A row for each variant, differences and compute side by side; datasets and methods below each other."""
    by = ["dataset", "base", "quantity"] if len(data["base"].unique()) > 1 else ["dataset", "quantity"]
    # Which variant lacks seeds is said in its row, not above the panels.
    wide = style.width > WIDTHS["column"]
    widths = {"width_ratios": [2.2, 1]} if wide else {}
    figure, panels = style.panels(data.drop(columns="planned"), by=by, per_row=2, sharey="row", gridspec_kw=widths)
    rows = len(panels) // 2 if wide else len(panels)
    most = max(shown["method"].nunique() for _, shown in panels)
    figure.set_figheight(rows * (0.17 * most + 0.85))
    planned = data["planned"].max()
    for panel, shown in panels:
        base = shown["base"].iloc[0]
        of_dataset = data[(data["base"] == base) & (data["dataset"] == shown["dataset"].iloc[0])]
        methods = _by_loss(of_dataset, base)
        _draw_panel(panel, shown, methods, style)
        # Without its own rows a method has run in no seed, or found no point that fits.
        seeds = shown[shown["seed"].notna()].groupby("method")["seed"].nunique().reindex(methods, fill_value=0)
        labels = [method if n == planned else f"{method} ({n:.0f}/{planned})" for method, n in seeds.items()]
        panel.set_yticks(range(len(methods)), labels)
        panel.set_ylim(len(methods) - 0.4, -0.6)
    return figure


def _by_loss(data: pd.DataFrame, base: str) -> list[str]:
    """The full method, then its variants: the one that loses least first, those without a mean last."""
    differences = data[data["quantity"] == DIFFERENCE]
    means = differences[differences["seed"].isna()].set_index("method")["value"]
    variants_of = [method for method in data["method"].unique() if method != base]
    return [base, *sorted(variants_of, key=lambda method: -means.get(method, -np.inf))]


def _draw_panel(panel: Axes, data: pd.DataFrame, methods: list[str], style: Style) -> None:
    is_difference = data["quantity"].iloc[0] == DIFFERENCE
    for place, method in enumerate(methods):
        of_method = data[data["method"] == method]
        mean, seeds = of_method[of_method["seed"].isna()], of_method.loc[of_method["seed"].notna(), "value"]
        color = style.look(methods[0])["color"]
        panel.plot(seeds, [place] * len(seeds), "o", color=color, markersize=2, alpha=0.45, zorder=3)
        panel.hlines([place] * len(mean), mean["low"], mean["high"], color=color, linewidth=1.1, zorder=4)
        sure = not is_difference or place == 0 or (mean["p"] <= SHOWN).all()
        panel.plot(
            mean["value"], [place] * len(mean), "s", label=method, color=color, zorder=5, markersize=4.5,
            markeredgewidth=1.1, markerfacecolor=color if sure else "white",
        )  # fmt: skip
    base = data[(data["method"] == methods[0]) & data["seed"].isna()]
    for value in base["value"]:
        panel.axvline(value, color=STATIC, linestyle=":", linewidth=0.8, zorder=1)
    low, high = data["value"].min(), data["value"].max()
    if is_difference:
        panel.set_xscale("symlog", linthresh=LINEAR)
        panel.set_xlim(min(1.4 * low, -LINEAR), max(1.4 * high, LINEAR))
        panel.set_xticks([tick for tick in _TICKS if panel.get_xlim()[0] <= tick <= panel.get_xlim()[1]])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.4g}" if value else "0"))
        panel.set_xlabel("difference (points of accuracy)")
    else:
        panel.set_xlabel("MACs per sample")
        panel.set_xlim(0, 1.08 * high)
        counts(panel.xaxis)
    panel.grid(visible=False, axis="y")
