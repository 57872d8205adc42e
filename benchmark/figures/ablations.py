"""What each part of a method brings.

Variants of a method against the method itself, each run at its operating point of highest validation accuracy. On the
left the test accuracy less that of the full method; on the right the compute. Large markers are means over seeds, bars
their 95% intervals (on the left over seeds and samples), small points single seeds. A variant that lacks seeds says how
many it has, and shows those without a mean. The scale of differences is linear up to one point and logarithmic beyond.
The dotted lines are the full method's own means. Panels are fitted to the points: wide intervals run out of them.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmark.analysis.tables import ablations
from benchmark.analysis.variants import variants
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._style import STATIC, WIDTHS, Style, counts

DIFFERENCE, MACS = "accuracy", "MACs"
#: Differences up to this are drawn on a linear scale.
LINEAR = 0.01
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
        mine, theirs = (outcomes.at_best(dataset, name, "accuracy") for name in (method, bases[method]))
        standard = np.mean([value for value in theirs if value is not None] or [np.nan])
        lost = [None if value is None or np.isnan(standard) else value - standard for value in mine]
        # The table leaves the full method's difference to itself empty; here it is a zero, as a place for its marker.
        if method == bases[method]:
            known = [value for value in lost if value is not None]
            if len(known) == len(lost):
                rows.append((dataset, method, bases[method], DIFFERENCE, None, 0.0, np.nan, np.nan))
        macs = outcomes.at_best(dataset, method, "macs")
        for quantity, metric, values in ((DIFFERENCE, "difference", lost), (MACS, "macs", macs)):
            cell = row.get(metric)
            if cell is not None and cell.estimate is not None:
                estimate = cell.estimate.value, *cell.interval(metrics[metric])
                rows.append((dataset, method, bases[method], quantity, None, *estimate))
            seeds = zip(outcomes.seeds, values, strict=True)
            rows += [
                (dataset, method, bases[method], quantity, s, v, np.nan, np.nan) for s, v in seeds if v is not None
            ]
    columns = ["dataset", "method", "base", "quantity", "seed", "value", "low", "high"]
    return outcomes.presented(pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"}))


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A row for each variant, differences and compute side by side; datasets and methods below each other."""
    by = ["dataset", "base", "quantity"] if len(data["base"].unique()) > 1 else ["dataset", "quantity"]
    # Which variant lacks seeds is said in its row, not above the panels.
    figure, panels = style.panels(data.drop(columns="planned"), by=by, per_row=2, sharey="row")
    rows = len(panels) if figure.get_figwidth() == WIDTHS["column"] else len(panels) // 2
    most = max(shown["method"].nunique() for _, shown in panels)
    figure.set_figheight(rows * (0.15 * most + 0.85))
    planned = data["planned"].max()
    for panel, shown in panels:
        base = shown["base"].iloc[0]
        methods = list(data.loc[data["base"] == base, "method"].unique())
        _draw_panel(panel, shown, methods, style)
        seeds = shown.groupby("method")["seeds"].first().reindex(methods, fill_value=0)
        labels = [method if n == planned else f"{method} ({n:.0f}/{planned})" for method, n in seeds.items()]
        panel.set_yticks(range(len(methods)), labels)
        panel.set_ylim(len(methods) - 0.4, -0.6)
    return figure


def _draw_panel(panel: Axes, data: pd.DataFrame, methods: list[str], style: Style) -> None:
    for place, method in enumerate(methods):
        of_method = data[data["method"] == method]
        mean, seeds = of_method[of_method["seed"].isna()], of_method.loc[of_method["seed"].notna(), "value"]
        look = style.look(method) | {"linestyle": "none"}
        panel.plot(seeds, [place] * len(seeds), "o", color=look["color"], markersize=2, alpha=0.6, zorder=3)
        panel.plot(mean["value"], [place] * len(mean), label=method, zorder=4, **look)
        panel.hlines([place] * len(mean), mean["low"], mean["high"], color=look["color"], linewidth=0.9, zorder=2)
    base = data[(data["method"] == methods[0]) & data["seed"].isna()]
    for value in base["value"]:
        panel.axvline(value, color=STATIC, linestyle=":", linewidth=0.8, zorder=1)
    low, high = data["value"].min(), data["value"].max()
    if data["quantity"].iloc[0] == DIFFERENCE:
        panel.set_xscale("symlog", linthresh=LINEAR)
        panel.set_xlim(min(1.4 * low, -LINEAR), max(1.4 * high, LINEAR))
        panel.set_xticks([tick for tick in _TICKS if panel.get_xlim()[0] <= tick <= panel.get_xlim()[1]])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.4g}" if value else "0"))
        panel.set_xlabel("difference (points)")
    else:
        panel.set_xlabel("per sample")
        panel.set_xlim(0, 1.08 * high)
        counts(panel.xaxis)
    panel.grid(visible=False, axis="y")
