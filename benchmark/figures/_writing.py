"""A figure on disk: the picture in three formats, and the data that it shows."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from benchmark import figures
from benchmark.figures import Style
from benchmark.files import atomic_write

#: No dates and versions, so that the same data gives the same bytes.
_METADATA = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None},
    ".png": {"Software": None},
}


def write(name: str, data: pd.DataFrame, style: Style, output: Path) -> None:
    """Write figure `name` and its `data`, each file atomically, to `output` plus .pdf, .svg, .png, .csv, .parquet."""
    with figures.applied():
        picture = figures.find(name).draw(data, style) if len(data) else _nothing(figures.title(name))
        for suffix, metadata in _METADATA.items():
            with atomic_write(output.with_name(output.name + suffix)) as temporary:
                picture.savefig(temporary, metadata=metadata)
                if suffix == ".png":
                    _reduce_colours(temporary)
    with atomic_write(output.with_name(output.name + ".csv")) as temporary:
        data.to_csv(temporary, index=False)
    with atomic_write(output.with_name(output.name + ".parquet")) as temporary:
        data.to_parquet(temporary, index=False)


def _reduce_colours(path: Path) -> None:
    # 256 of its own colours make a picture a third as large, and no eye sees the difference.
    picture = Image.open(path).convert("RGB")
    picture.quantize(method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)


def _nothing(title: str) -> Figure:
    picture = Figure(figsize=(figures.WIDTHS["column"], 0.4))
    picture.text(0.5, 0.5, f"{title}: no finished run has anything to show", ha="center", va="center", fontsize=7)
    return picture
