"""Result folders of an experiment that never ran and whose truth is known, to test statistics, tables and figures on.

Every sample has a difficulty d in [0, 1] and a latent ease that all runs partly share, so that runs are paired by
sample as real ones are.  A run's probability to be right falls with d and rises with the rounds of compute spent on the
sample; who spends the rounds, and how well, is what `Adaptive` says.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr

from benchmark.evaluation import records
from benchmark.experiment.configuration import Configuration, Recipe, Run
from benchmark.experiment.tuned import Choice, Tuned, TunedDataset, TunedFile, Values

ROUNDS = 4
LAYERS = 3
CLASSES = 4
REFERENCE_MACS = 1_000_000
#: Operating points of the control that stops on confidence.
THRESHOLDS = 40


@dataclass(frozen=True)
class Static:
    """A network of one size: `accuracy` on average over samples, for `macs` a sample."""

    accuracy: float = 0.85
    macs: int = REFERENCE_MACS
    kind: str = "resnet"


@dataclass(frozen=True)
class Adaptive:
    """A network that spends 0 to `ROUNDS` rounds on a sample beyond its direct pass.

    Attributes:
        accuracy: of the direct pass, on average over samples.
        gain: what all rounds add to the probability of the hardest samples; of the easiest, nothing.
        skill: how well the rounds go to the hard samples: 1 by difficulty alone, 0 by chance, -1 to the easy ones.
        direct_macs, round_macs: what the direct pass and one round cost.
        waste: rounds spent on every sample, hard or easy, before anything is chosen.
        controls: whether the records hold controls in the agent's place as well.
        doubt: the noise in its confidence, as the width of a uniform distribution.
        alone: milliseconds that it takes for a sample that is alone in its batch; a static network takes 1.
    """

    accuracy: float = 0.80
    gain: float = 0.20
    skill: float = 1.0
    direct_macs: int = 300_000
    round_macs: int = 100_000
    waste: int = 0
    controls: bool = True
    doubt: float = 0.3
    alone: float = 2.0
    kind: str = "dynalay"


Truth = Static | Adaptive

METHODS: Mapping[str, Truth] = {
    "resnet14": Static(),
    "resnet8": Static(accuracy=0.80, macs=400_000),
    "branchynet": Adaptive(accuracy=0.76, skill=0.6, controls=False, kind="branchynet"),
    "dynalay": Adaptive(),
    "dynalay-unrolled": Adaptive(accuracy=0.78),
}


@dataclass(frozen=True)
class Experiment:
    """A synthetic experiment.

    Attributes:
        datasets: whether each dataset has a dial of difficulty that the records know.
        methods: the truth of each method; the first is the reference.
        points: operating points of an adaptive method's own policy.
        missing, failed: runs, as "dataset/method/seed<k>", that leave no folder, or a run.json that tells an error.
        seed_spread: standard deviation between seeds of the probability to be right.
        trials: of tuning, for each method.
        timed: whether the first seeds were timed; at batch 256 time is as MACs.
    """

    datasets: Mapping[str, bool] = field(default_factory=lambda: {"maze": True, "digits": False})
    methods: Mapping[str, Truth] = field(default_factory=lambda: METHODS)
    seeds: int = 3
    samples: int = 600
    points: int = 6
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    seed_spread: float = 0.004
    trials: int = 0
    timed: bool = False
    name: str = "synthetic"

    def configuration(self) -> Configuration:
        """What `benchmark.experiment.configuration.load` would give for this experiment."""
        runs = {
            (dataset, method): Run(self.name, dataset, method, -1, dataset, {}, truth.kind, {}, Recipe(epochs=5))
            for dataset in self.datasets
            for method, truth in self.methods.items()
        }
        return Configuration(
            experiment=self.name,
            seeds=tuple(range(self.seeds)),
            reference=next(iter(self.methods)),
            latency=False,
            dataset_kinds={dataset: dataset for dataset in self.datasets},
            dataset_parameters={dataset: {} for dataset in self.datasets},
            method_kinds={method: truth.kind for method, truth in self.methods.items()},
            method_parameters={method: {} for method in self.methods},
            tuned=self.tuned(),
            _runs=runs,
        )

    def tuned(self) -> Tuned | None:
        """Tuned settings after `trials` trials, if there are any; the first method gains nothing, the others do."""
        if not self.trials:
            return None
        budgets = (1e5, 2e6)
        before = Values(recipe={"learning_rate": 0.004}, parameters={})
        choices = {}
        for place, method in enumerate(self.methods):
            scores = (0.8, *(0.8 + 0.01 * place * ((7 * number) % 5 - 2) for number in range(1, self.trials)))
            best = scores.index(max(scores))
            recipe = {"learning_rate": 0.01} if best else {}
            choices[method] = Choice(trial=best, scores=scores, before=before, recipe=recipe)
        datasets = {dataset: TunedDataset(budgets=budgets, methods=choices) for dataset in self.datasets}
        content = TunedFile(
            experiment=self.name, trials=self.trials, seed=1000, commits=("c0ffee",), dirty=False, versions={},
            datasets=datasets,
        )  # fmt: skip
        return Tuned(Path("tuned.yaml"), content)

    def write(self, results: Path) -> Configuration:
        """Write the folder of every run below `results`; returns the configuration."""
        configuration = self.configuration()
        for run in configuration.runs():
            self.write_run(run, results)
        return configuration

    def write_run(self, run: Run, results: Path) -> None:
        """Write one run's folder: records, costs, history and run.json."""
        if str(run) in self.missing:
            return
        folder = run.folder(results)
        folder.mkdir(parents=True, exist_ok=True)
        self.write_description(run, results)
        if str(run) in self.failed:
            return
        truth = self.methods[run.method]
        costs = {name: {"macs": macs, "uncounted": {}} for name, macs in component_macs(truth).items()}
        (folder / "costs.json").write_text(json.dumps(costs))
        written = self.records(run)
        records.write(folder / "records.parquet", written)
        if self.timed and run.seed == 0:
            _timings(written, truth.alone if isinstance(truth, Adaptive) else 1.0).to_csv(
                folder / "latency.csv", index=False
            )
        epochs = np.arange(1, 6)
        history = pd.DataFrame(
            {
                "epoch": epochs,
                "step": 10 * epochs,
                "loss": 1 / epochs,
                "validation_accuracy": 1 - 0.5 / epochs,
                "validation_macs": REFERENCE_MACS / epochs,
                "training_macs": 10**11 * epochs,
                "seconds": 12.0 * epochs,
            }
        )
        if isinstance(truth, Adaptive) and truth.controls:
            history["reward"] = 0.8 - 0.3 / epochs
            for action in range(LAYERS + 1):
                history[f"choice{action}"] = 1 / (LAYERS + 1)
            gains_of(run.seed).to_csv(folder / "gains.csv", index=False)
        history.to_csv(folder / "history.csv", index=False)

    def write_description(self, run: Run, results: Path) -> None:
        """Write one run's run.json."""
        description = {
            "run": str(run),
            "digest": run.digest,
            **run.resolved(),
            "status": "evaluated",
            "error": None,
            "code": {"commit": "0" * 40, "dirty": False},
            "versions": {"torch": "2.11.0"},
            "hardware": {"device": "cpu", "processor": "synthetic", "cores": 2, "gpu": None},
            "training_seconds": 60.0 + run.seed,
            "training_macs": 5 * 10**11,
            "evaluation_seconds": 2.0,
            "parameters": 10_000,
            "preemptions": 0,
        }
        if str(run) in self.failed:
            description |= {"status": "failed", "error": "OutOfMemoryError: the synthetic device is full"}
        (run.folder(results) / "run.json").write_text(json.dumps(description))

    def records(self, run: Run) -> pd.DataFrame:
        """One run's records; validation has half as many samples as test."""
        truth = self.methods[run.method]
        own = np.random.default_rng([_number(run.dataset), _number(run.method), run.seed])
        shift = own.normal(0, self.seed_spread)
        parts = []
        for split, samples in (("validation", self.samples // 2), ("test", self.samples)):
            shared = np.random.default_rng([_number(run.dataset), _number(split)])
            difficulty = shared.uniform(size=samples).astype(np.float32)
            label = shared.integers(CLASSES, size=samples).astype(np.int16)
            # A Gaussian copula: half of what decides a sample is the sample's, half is the run's.
            ease = ndtr((shared.normal(size=samples) + own.normal(size=samples)) / np.sqrt(2))
            wrong = ((label + own.integers(1, CLASSES, size=samples)) % CLASSES).astype(np.int16)
            chance = own.uniform(size=samples)
            for policy, knob, spent in spendings(truth, difficulty, chance, self.points, shift):
                probability = right_with(truth, difficulty, spent, shift)
                columns: dict[str, np.ndarray | np.generic | str] = {
                    "split": split,
                    "sample": np.arange(samples, dtype=np.int32),
                    "label": label,
                    "prediction": np.where(ease < probability, label, wrong),
                    "difficulty": difficulty if self.datasets[run.dataset] else np.float32(np.nan),
                    "policy": policy,
                    "operating_point": f"{policy}:{knob:.9g}",
                    "knob": np.float32(knob),
                    "confidence": confidence(truth, probability, chance),
                }
                executions = executed(truth, spent)
                costs = component_macs(truth)
                columns["macs"] = np.sum(
                    [costs[name] * count.astype(np.int64) for name, count in executions.items()], 0
                )
                columns |= {f"executions.{name}": count for name, count in executions.items()}
                if isinstance(truth, Adaptive):
                    for turn in range(1, ROUNDS + 1):
                        action = np.where(spent >= turn, 1 + (turn - 1) % LAYERS, np.where(spent == turn - 1, 0, -1))
                        columns[f"note.action{turn}"] = action.astype(np.int16)
                    for layer in range(1, LAYERS + 1):
                        evaluations = executions[f"layer{layer}.cell"]
                        columns[f"note.residual{layer}"] = (0.5**evaluations).astype(np.float32)
                parts.append({name: np.broadcast_to(values, samples) for name, values in columns.items()})
        table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for name in ("split", "policy", "operating_point"):
            table[name] = pd.Categorical(table[name])
        return pd.DataFrame(table)

    def with_method(self, name: str, **truth: object) -> "Experiment":
        """The same experiment with another truth for one method."""
        return replace(self, methods={**self.methods, name: replace(self.methods[name], **truth)})  # type: ignore[arg-type]


def gains_of(seed: int) -> pd.DataFrame:
    """Gains of an agent that expects twice what comes of a layer."""
    bins = pd.MultiIndex.from_product([range(1, LAYERS + 1), range(10)], names=["layer", "bin"]).to_frame(index=False)
    predicted = (bins["bin"] - 2 + seed) * bins["layer"] / 100
    return bins.assign(decisions=60, samples=50, predicted=predicted, realised=predicted / 2, error=0.01)


def component_macs(truth: Truth) -> dict[str, int]:
    """MACs of one execution of each component."""
    if isinstance(truth, Static):
        return {"network": truth.macs}
    return {"direct": truth.direct_macs, **{f"layer{layer}.cell": truth.round_macs for layer in range(1, LAYERS + 1)}}


def executed(truth: Truth, spent: np.ndarray) -> dict[str, np.ndarray]:
    """How often each component ran, int16 [samples]: round r re-evaluates layer 1 + (r - 1) mod LAYERS."""
    if isinstance(truth, Static):
        return {"network": np.ones(len(spent), np.int16)}
    layers = {f"layer{layer}.cell": (spent + LAYERS - layer) // LAYERS for layer in range(1, LAYERS + 1)}
    return {"direct": np.ones(len(spent), np.int16)} | {name: count.astype(np.int16) for name, count in layers.items()}


def probability_right(truth: Truth, difficulty: np.ndarray, spent: np.ndarray) -> np.ndarray:
    """The probability to be right: `accuracy` on average, falling by 0.3 over the dial, plus what the rounds gain."""
    probability = truth.accuracy + 0.3 * (0.5 - difficulty)
    if isinstance(truth, Adaptive):
        probability = probability + truth.gain * difficulty * spent / ROUNDS
    return probability


def right_with(truth: Truth, difficulty: np.ndarray, spent: np.ndarray, shift: float) -> np.ndarray:
    """`probability_right` of a seed, which is `shift` better than the others."""
    return np.clip(probability_right(truth, difficulty, spent) + shift, 1 / CLASSES, 1)


def confidence(truth: Truth, probability: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """The confidence that records hold: the probability to be right, with as much noise as the truth says."""
    noise = truth.doubt * (chance - 0.5) if isinstance(truth, Adaptive) else 0.0
    return np.clip(probability + noise, 0, 1).astype(np.float32)


def confident(truth: Truth, difficulty: np.ndarray, chance: np.ndarray, threshold: float, shift: float) -> np.ndarray:
    """Rounds until a sample's confidence, as the records hold it, reaches a threshold."""
    spent = [np.full(len(difficulty), turns) for turns in range(ROUNDS + 1)]
    seen = [confidence(truth, right_with(truth, difficulty, turns, shift), chance) for turns in spent]
    reached = np.array(seen) >= threshold
    reached[-1] = True
    return reached.argmax(axis=0)


def spendings(
    truth: Truth, difficulty: np.ndarray, chance: np.ndarray, points: int, shift: float = 0.0
) -> Iterable[tuple[str, float, np.ndarray]]:
    """Every operating point: policy, knob, and the rounds spent on each sample."""
    if isinstance(truth, Static):
        yield "own", float("nan"), np.zeros(len(difficulty), np.int64)
        return
    believed = difficulty if truth.skill >= 0 else 1 - difficulty
    score = abs(truth.skill) * believed + (1 - abs(truth.skill)) * chance

    def rounds(score: np.ndarray, price: float) -> np.ndarray:
        """The more expensive compute is, the fewer samples are worth it."""
        return np.clip(np.ceil(ROUNDS * (score - price) * 2), truth.waste, ROUNDS).astype(np.int64)

    prices = np.linspace(0, 1, points)
    for price in prices:
        yield "own", price, rounds(score, price)
    if truth.controls:
        yield "never", 0, np.zeros(len(difficulty), np.int64)
        for turns in range(1, ROUNDS + 1):
            yield "always", turns, np.full(len(difficulty), turns)
        for price in prices:
            yield "random", price, rounds(chance, price)
            yield "entropy", price, rounds((1 - truth.doubt) * difficulty + truth.doubt * chance, price)
            yield "one_order", price, rounds((1 - truth.doubt) * difficulty + truth.doubt * chance, price)
            # The agent's own rounds, given to other samples.
            yield "shuffled", price, rounds(score, price)[np.argsort(chance, kind="stable")]
        for turns in (1, 3):
            yield "schedule", turns, np.full(len(difficulty), turns)
        for threshold in np.linspace(0.2, 1, THRESHOLDS):
            yield "max_probability", float(threshold), confident(truth, difficulty, chance, threshold, shift)


def _number(name: str) -> int:
    """A stable number for a name, to seed a random stream with."""
    return int.from_bytes(name.encode(), "little") % (2**63)


def _timings(written: pd.DataFrame, alone: float) -> pd.DataFrame:
    own = written[(written["policy"] == "own") & (written["split"] == "test")]
    macs = own.groupby("operating_point", observed=True, sort=False)["macs"].mean()
    rows = []
    for name, spent in macs.items():
        for size, milliseconds in ((1, alone), (256, spent / 1e6)):
            batch = milliseconds * size
            rows.append(
                {
                    "operating_point": name, "batch_size": size, "milliseconds_per_sample": milliseconds,
                    "p50": batch, "p95": 1.1 * batch, "p99": 1.2 * batch, "threads": 1, "peak_memory_mib": 100.0 + size,
                    "device": "machine",
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
