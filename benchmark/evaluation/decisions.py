"""The decisions of a run on a few test samples, step by step: `decisions.parquet`, for looking into single ones.

One row per sample, operating point and step. A step is one decision (`dynalay.trace.Decision`): what the sample had
cost by then, what the decision rested on, what was chosen, and the answer if it were given there. The last step of a
sample is its answer. The columns are those of `docs/explorer.md`.

The samples are the same for all methods and seeds of a dataset. No statement about results is made from this file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmark.data import Dataset, Split
from benchmark.evaluation.records import CATEGORY
from benchmark.files import atomic_write
from benchmark.training.batches import batches
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.trace import Decision, TracingMeter

FILE = "decisions.parquet"
#: Test samples, operating points, and classes of an answer, that are kept at most.
SAMPLES, POINTS, CLASSES = 200, 9, 10
NUMBER, SEEN = "number.", "seen."


def chosen_samples(count: int) -> list[int]:
    """Of `count` test samples those that are looked into: evenly spaced, so that sorted ones are all represented."""
    return [place * count // min(count, SAMPLES) for place in range(min(count, SAMPLES))]


def chosen_points(points: Sequence[OperatingPoint], records: pd.DataFrame) -> list[OperatingPoint]:
    """Of a method's own operating points those that are looked into: evenly spaced by the order of their compute."""
    test = records[records["split"] == "test"]
    macs = test.groupby("operating_point", observed=True)["macs"].mean()
    own = sorted((point for point in points if point.policy == "own"), key=lambda point: macs[point.name])
    places = np.linspace(0, len(own) - 1, min(len(own), POINTS)).round().astype(int)
    return [own[place] for place in places]


@torch.inference_mode()
def trace(
    model: AdaptiveClassifier,
    dataset: Dataset,
    device: torch.device,
    points: Sequence[OperatingPoint],
    records: pd.DataFrame,
) -> pa.Table:
    """Classify the chosen test samples once more, and take down every decision.

    Args:
        model: trained, in evaluation mode.
        dataset: whose test split is read.
        device: of the model.
        points: the operating points that were recorded.
        records: of the run. A batch of another size rounds otherwise: a sample that lies on a threshold, and so ends
            otherwise than its record says, is left out at that point.
    """
    samples = torch.tensor(chosen_samples(len(dataset.test.labels)))
    test = dataset.test
    group = None if test.group is None else test.group[samples]
    split = Split(test.images[samples], test.labels[samples], test.difficulty[samples], group)
    shown = chosen_points(points, records)
    component_macs = model.component_macs().to(device)
    steps: list[tuple[int, int, Decision]] = []
    first = 0
    for images, _ in batches(split, dataset, device):
        for place, point in enumerate(shown):
            meter = TracingMeter(model.components(), len(images), component_macs, device)
            logits = model.classify(images, point, meter)
            steps += [(first, place, decision) for decision in (*meter.decisions, _answer(logits, meter))]
        first += len(images)
    of_sample = {
        "sample": pa.array(samples.numpy(), pa.int32()),
        "label": pa.array(split.labels.numpy(), pa.int16()),
        "difficulty": pa.array(split.difficulty.numpy()),
    }
    if group is not None:
        of_sample["group"] = _category(np.array(dataset.groups, object)[group.numpy()])
    return agreeing(_table(steps, of_sample, shown), records)


def write(path: Path, table: pa.Table) -> None:
    """Write what `trace` gave to `path` atomically; the same table gives the same bytes."""
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read(path: Path) -> pd.DataFrame:
    """Read a file of decisions; lists come as arrays.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing or damaged.
    """
    return pq.read_table(path, use_threads=False).to_pandas()


def _answer(logits: torch.Tensor, meter: TracingMeter) -> Decision:
    """The last step of every sample of a batch."""
    rows = torch.arange(len(logits), device=logits.device)
    probabilities = logits.float().softmax(dim=1)
    return Decision("answer", rows, meter.spent(), probabilities, ("answer",), torch.zeros_like(rows), {}, {})


def _table(
    steps: Sequence[tuple[int, int, Decision]], of_sample: Mapping[str, pa.Array], points: Sequence[OperatingPoint]
) -> pa.Table:
    """All steps as rows, ordered by sample, operating point and time.

    Args:
        steps: with the place of the batch's first sample in `of_sample`, and of the point among `points`.
        of_sample: columns of what is known of each sample.
        points: those looked into.
    """
    within = np.concatenate([first + decision.rows.cpu().numpy() for first, _, decision in steps])
    place = np.concatenate([np.full(len(decision.rows), place) for _, place, decision in steps])
    order = np.lexsort((place, within))  # stable: steps of a sample stay in the order of time
    within, place = within[order], place[order]
    new = np.r_[True, (within[1:] != within[:-1]) | (place[1:] != place[:-1])]
    start = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))

    decisions = [decision for _, _, decision in steps]
    names = np.concatenate([np.full(len(each.rows), each.name, object) for each in decisions])
    choices = np.concatenate([np.array(each.choices, object)[each.chosen.cpu().numpy()] for each in decisions])
    best = [each.probabilities.topk(min(CLASSES, each.probabilities.shape[1])) for each in decisions]
    columns = {
        **{name: values.take(pa.array(within)) for name, values in of_sample.items()},
        "operating_point": _category(np.array([point.name for point in points], object)[place]),
        "knob": pa.array(np.array([point.knob for point in points], np.float32)[place]),
        "step": pa.array(np.arange(len(new)) - start, pa.int16()),
        "decision": _category(names[order]),
        "choice": _category(choices[order]),
        "macs": pa.array(_joined([each.macs for each in decisions])[order], pa.int64()),
        "classes": _lists(_joined([each.indices for each in best])[order].astype(np.int16)),
        "probabilities": _lists(_joined([each.values for each in best])[order].astype(np.float16)),
    }
    for name in dict.fromkeys(name for each in decisions for name in each.numbers):
        columns[f"{NUMBER}{name}"] = pa.array(_filled([(each, each.numbers.get(name)) for each in decisions])[order])
    for name in dict.fromkeys(name for each in decisions for name in each.seen):
        whole = _filled([(each, each.seen.get(name)) for each in decisions])[order]
        columns[f"{SEEN}{name}"] = _lists(whole.astype(np.float16))
    return pa.table(columns)


def agreeing(table: pa.Table, records: pd.DataFrame) -> pa.Table:
    """The samples, at each operating point, that end with the prediction and the compute of their record."""
    steps = table.select(["sample", "operating_point", "macs"]).to_pandas()
    steps["prediction"] = np.stack(table["classes"].to_pandas())[:, 0]
    key = ["operating_point", "sample"]
    last = steps.groupby(key, observed=True).tail(1)
    test = records.loc[records["split"] == "test", [*key, "prediction", "macs"]]
    found = last.astype({"operating_point": str}).merge(
        test.astype({"operating_point": str}), on=[*key, "prediction", "macs"]
    )
    kept = pd.MultiIndex.from_frame(found[key])
    return table.filter(pa.array(pd.MultiIndex.from_frame(steps[key].astype({key[0]: str})).isin(kept)))


def _joined(parts: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.cat([part.cpu() for part in parts]).numpy()


def _filled(parts: Sequence[tuple[Decision, torch.Tensor | None]]) -> np.ndarray:
    """A number or view of all steps, float32; NaN where a decision does not have it."""
    shape = next(values.shape[1:] for _, values in parts if values is not None)
    return _joined(
        [torch.full((len(each.rows), *shape), torch.nan) if values is None else values for each, values in parts]
    )


def _lists(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _category(values: np.ndarray) -> pa.Array:
    """Strings as a dictionary, its entries in the order of their first row."""
    codes, names = pd.factorize(values)
    return pa.DictionaryArray.from_arrays(pa.array(codes, CATEGORY.index_type), pa.array(names, CATEGORY.value_type))
