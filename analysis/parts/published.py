"""Published numbers beside our own. They are shown, never tested against.

``published.csv`` has a row a number. Datasets, networks, methods and distributions have our names where ours is the
same thing, else those of the source; what is blank is not stated there. ``value`` and ``std`` are in percent;
``where_found`` says of which parameters ``params_millions`` tells, kept or all.
"""

import math
from collections.abc import Hashable
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import pandas as pd

from analysis.parts import ReportTable
from analysis.parts.failures import SUFFIX
from suite.config import DATASETS, MODELS, InputError
from suite.config.error_messages import choices

FILE = files("analysis.parts") / "published.csv"  # a job's copy of the code is an archive
SOURCE_RELIABILITY = {
    "verified": "read in what the authors themselves put online",
    "secondary": "restated by others, the paper itself was not read: such numbers may be wrong, and some conflict",
    "from_figure": "read off a curve of the paper by others, to about half a point",
}
ORIGIN = ("source", "where_found", "confidence")  # no number without them
_NUMBERS = ("width", "sparsity", "value", "std", "params_millions")
_WORDS = ("dataset", "network", "method", "distribution", "metric", *ORIGIN)
_NOT_STATED = "not stated"


def load(path: Traversable = FILE) -> pd.DataFrame:
    """All published numbers: a row each, NaN or an empty text for what is not stated.

    Raises:
        InputError: a line for each row that lacks source, where_found or confidence, or has no accuracy in percent.
    """
    try:
        with path.open(encoding="utf-8") as file:
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table: {error}") from None
    if lacking := [column for column in (*_WORDS, *_NUMBERS) if column not in table]:
        raise InputError(f"{path}: columns: {', '.join(lacking)}: must be there")
    texts = table.to_dict("records")
    table[list(_NUMBERS)] = table[list(_NUMBERS)].apply(pd.to_numeric, errors="coerce").astype(float)
    pairs = enumerate(zip(texts, table.to_dict("records"), strict=True), start=1)
    if problems := [f"{path}: row {i}: {problem}" for i, pair in pairs for problem in _problems(*pair)]:
        raise InputError(*problems)
    return table


def _problems(text: dict[Hashable, str], read: dict[Hashable, Any]) -> list[str]:
    """What is wrong with a row, as it is written and as it was read."""
    problems = [f"{key}: is empty: no number stands here without it" for key in ORIGIN if not text[key].strip()]
    if (word := text["confidence"]).strip() and word not in SOURCE_RELIABILITY:
        problems.append(f"confidence: {word}: {choices(word, list(SOURCE_RELIABILITY))}")
    wrong = [key for key in _NUMBERS if text[key].strip() and math.isnan(read[key])]
    problems += [f"{key}: {text[key]}: must be a number, or empty" for key in wrong]
    if "value" not in wrong and not 0 <= read["value"] <= 100:
        problems.append(f"value: {text['value'] or 'is empty'}: must be in percent, from 0 to 100")
    return problems


def rows(dataset: str, model: str) -> pd.DataFrame:
    """What was published for a data set and a network, in the columns of ``published.csv``; empty where nothing was.

    Raises:
        InputError: a name that neither the suite nor the file knows.
    """
    published = load()
    for kind, name, ours, column in (("dataset", dataset, DATASETS, "dataset"), ("model", model, MODELS, "network")):
        known = list(dict.fromkeys([*ours, *published[column]]))
        if name not in known:
            raise InputError(f"{kind}: {name}: {choices(name, known)}")
    return published[(published["dataset"] == dataset) & (published["network"] == model)].reset_index(drop=True)


def table(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Our means beside what was published for the same dataset, network, method and width; a row a pair.

    Args:
        accuracy: as ``analysis.tables.accuracy_table`` gives it; ``mean``, ``low`` and ``high`` are in [0, 1], and
            ``method`` may have settings after its name.

    Returns:
        ``ours``, ``low``, ``high`` and ``published`` in percent, each published number with ``published_width`` (NaN:
        not stated, so it is beside each of our widths), its other settings and its origin. Empty where nothing was
        published.
    """
    own = accuracy[~accuracy["method"].str.endswith(SUFFIX)]
    ours = own.assign(
        network=own["model"],
        name=own["method"].str.split().str[0],
        ours=100 * own["mean"].astype(float),
        low=100 * own["low"].astype(float),
        high=100 * own["high"].astype(float),
    )
    theirs = load().rename(columns={"method": "name", "width": "published_width", "value": "published"})
    both = ours.merge(theirs, on=["dataset", "network", "name"])
    same = both[both["published_width"].isna() | (both["published_width"] == both["width"])].reset_index(drop=True)
    keys = ["dataset", "model", "width", "method", "n", "seeds", "ours", "low", "high", "published", "published_width"]
    return same[[*keys, "std", "distribution", "sparsity", "metric", *ORIGIN]]


def part(accuracy: pd.DataFrame, metric: str) -> ReportTable | None:
    """Ours beside theirs; None where nothing was published, or where ours is no test accuracy."""
    both = table(accuracy) if metric == "test/top1" else pd.DataFrame()
    return (
        None
        if both.empty
        else ReportTable("published", "Ours beside published numbers", both, _shown(both), _notes(both))
    )


def _shown(both: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it: no published number without its confidence and source."""
    return pd.DataFrame(
        {
            "dataset": both["dataset"],
            "model": both["model"],
            "width": both["width"].map("{:g}".format),
            "method": both["method"],
            "n": both["n"].map(str),
            "ours, %": ["missing" if pd.isna(mean) else f"{mean:.2f}" for mean in both["ours"]],
            "95 % interval": [
                "" if pd.isna(low) else f"{low:.2f} to {high:.2f}"
                for low, high in zip(both["low"], both["high"], strict=True)
            ],
            "published, %": [f"{v:g} ({c})" for v, c in zip(both["published"], both["confidence"], strict=True)],
            "its width": [_NOT_STATED if pd.isna(width) else f"{width:g}" for width in both["published_width"]],
            "its sparsity": [_NOT_STATED if pd.isna(p) else f"{p:g}" for p in both["sparsity"]],
            "its distribution": [text or _NOT_STATED for text in both["distribution"]],
            "source": both["source"],
        }
    )


def _notes(both: pd.DataFrame) -> list[str]:
    notes = [
        "Published numbers come from other code, other settings and other seeds; no mean or interval has them in it."
    ]
    notes += [f"{word}: {SOURCE_RELIABILITY[word]}." for word in SOURCE_RELIABILITY if word in set(both["confidence"])]
    found = both[["source", "where_found"]].drop_duplicates()
    return notes + [f"{source}: {where}." for source, where in found.itertuples(index=False)]
