"""The page of an experiment, and what the start page says about it.

The templates hold the words and the order; this module only gathers.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from benchmark.analysis.formatting import Table, significant
from benchmark.analysis.tables import make
from benchmark.figures import Evidence, Style, gallery
from benchmark.report import cards, runs, sentences, start, tuning
from benchmark.report.board import leaderboard
from benchmark.report.chart import chart, look
from benchmark.report.pictures import pictures
from benchmark.report.sheets import sheet
from benchmark.report.templating import fill, library_version


@dataclass(frozen=True)
class Page:
    """Everything that is said about an experiment, each part made once.

    Attributes:
        evidence: its results.
    """

    evidence: Evidence

    @cached_property
    def boards(self) -> list[dict[str, Any]]:
        """The leaderboard of each dataset."""
        return leaderboard(self.evidence)

    @cached_property
    def tables(self) -> list[Table]:
        """The tables that have a row."""
        return make(self.evidence.outcomes)

    @cached_property
    def judged(self) -> list[dict[str, Any]]:
        """The verdicts."""
        return cards.read(self.evidence.folder / "verdicts.json")

    @cached_property
    def findings(self) -> list[str]:
        """What was found, in sentences; none while no run has finished."""
        outcomes = self.evidence.outcomes
        if not (outcomes.runs["status"] == "done").any():
            return []
        return sentences.findings(outcomes, self.boards, self.judged)

    @property
    def title(self) -> str:
        """The experiment's title, or its name."""
        return self.evidence.configuration.title or self.evidence.configuration.experiment

    def html(self) -> str:
        """The page, as one file."""
        evidence, configuration = self.evidence, self.evidence.configuration
        all_runs = evidence.outcomes.runs
        drawn, undrawn = pictures(evidence)
        run_table = runs.table(all_runs, configuration)
        return fill(
            "page.html",
            ("theme", "vendor", "chart", "tables"),
            title=self.title,
            question=configuration.question,
            findings=self.findings,
            boards=self.boards,
            advice=sentences.advice(self.boards),
            datasets=configuration.datasets,
            methods=configuration.methods,
            seeds=configuration.seeds,
            reference=configuration.reference,
            runs=len(all_runs),
            done=int((all_runs["status"] == "done").sum()),
            holes=runs.holes(all_runs),
            dirty=int(all_runs["dirty"].fillna(False).astype(bool).sum()),
            run_headings=run_table["headings"],
            run_rows=run_table["rows"],
            common=run_table["common"],
            verdicts=cards.cards(self.judged),
            chart=chart(evidence),
            tables=[*map(sheet, self.tables), *tuning.tables(configuration.tuned)],
            gallery=_gallery(evidence),
            figures=drawn,
            undrawn=undrawn,
            chart_version=library_version(),
        )

    def summary(self) -> dict[str, Any]:
        """What the start page says about the experiment, as plain values."""
        evidence, configuration = self.evidence, self.evidence.configuration
        all_runs, static = evidence.outcomes.runs, evidence.outcomes.static_methods
        style = Style(configuration.methods, static)
        return {
            "version": start.VERSION,
            "name": configuration.experiment,
            "title": self.title,
            "question": configuration.question,
            "datasets": list(configuration.datasets),
            "seeds": len(configuration.seeds),
            "runs": len(all_runs),
            "done": int((all_runs["status"] == "done").sum()),
            "commits": runs.commits(all_runs),
            "findings": self.findings,
            "advice": sentences.advice(self.boards),
            "boards": self.boards,
            "looks": {method: look(style.look(method), method in static) for method in configuration.methods},
            "verdicts": self.judged,
            "tables": [table.name for table in self.tables],
        }


def _gallery(evidence: Evidence) -> list[dict[str, Any]]:
    """Groups of samples, as in the figure; from the data that its picture was drawn from."""
    path = evidence.folder / "figures" / "gallery.parquet"
    if not path.exists():
        return []
    groups = []
    for heading, samples in gallery.groups(pd.read_parquet(path)):
        shown = samples.assign(macs=samples["macs"].map(significant), path=samples["path"].map(gallery.path_text))
        rows = shown.to_dict("records")
        groups.append({"heading": heading, "dataset": rows[0]["dataset"], "method": rows[0]["method"], "samples": rows})
    return groups
