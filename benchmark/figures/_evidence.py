"""What figures are drawn from: the summary, and what stands beside it (configuration, small files of runs, images)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.analysis.outcomes import RUN, Outcomes
from benchmark.analysis.variants import agents, variants
from benchmark.errors import UserError
from benchmark.evaluation import measurements
from benchmark.experiment.configuration import Configuration

if TYPE_CHECKING:
    from benchmark.data import Dataset

#: More curves than these cannot be distinguished in one panel.
MANY = 8


@dataclass(frozen=True)
class Evidence:
    """An experiment's results.

    Attributes:
        configuration: the experiment.
        results: the folder of all results.
        data: the folder of all data; needed only for pictures of inputs and for the names of dials of difficulty.
    """

    configuration: Configuration
    results: Path
    data: Path = Path("data")

    @property
    def folder(self) -> Path:
        """The experiment's own folder."""
        return self.results / self.configuration.experiment

    @cached_property
    def outcomes(self) -> Outcomes:
        """The experiment's summary."""
        return Outcomes(self.folder)

    def run_files(self, name: str) -> pd.DataFrame:
        """A file of measurements of every run that has it, stacked, with the columns dataset, method and seed in front.

        Measurements that a run lacks are NaN.
        """
        parts = [
            measurements.read(run.folder(self.results), name).assign(
                dataset=run.dataset, method=run.method, seed=run.seed
            )
            for run in self.configuration.runs()
        ]
        stacked = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        return stacked[RUN + [column for column in stacked if column not in RUN]]

    def dataset(self, label: str) -> "Dataset":
        """A prepared dataset, with its images."""
        from benchmark import data  # loads torch, which most figures do without

        configuration = self.configuration
        return data.load(configuration.dataset_kinds[label], configuration.dataset_parameters[label], self.data)

    def dial_name(self, label: str) -> str:
        """What a dataset's own dial of difficulty measures, as an axis label; "difficulty" where there is no data."""
        try:
            return self.dataset(label).difficulty_name or "difficulty"
        except UserError:
            return "difficulty"

    def of_agents(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the methods whose agents are looked into: the first of each kind that has one."""
        return table[table["method"].isin(agents(self.configuration))]

    def overlaid(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the methods whose curves are drawn over each other.

        Where there are more than `MANY` methods, variants of another are left out: `ablations` compares them. Static
        ones stay, since all others are compared with them.
        """
        if len(self.configuration.methods) <= MANY:
            return table
        left_out = {label for labels in variants(self.configuration.method_kinds).values() for label in labels[1:]}
        left_out -= {self.configuration.reference, *self.outcomes.static_methods}
        return table[~table["method"].isin(left_out)]

    @cached_property
    def agent_actions(self) -> pd.DataFrame:
        """How many test samples took each action in each round where a method's own agent decides."""
        actions = self.of_agents(self.outcomes.actions)
        if actions.empty:
            return actions
        return actions[actions["policy"] == "own"].astype({"round": int, "action": int, "samples": int})
