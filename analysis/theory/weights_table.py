"""How many random candidates a single weight needs if redraws are not allowed: the table of exact subset sums."""

import itertools

import numpy as np
import pandas as pd

from analysis.theory.experiment import successes
from analysis.theory.plan import Plan
from analysis.theory.subset_sum import candidates_needed, products
from analysis.theory.targets import Array

_CANDIDATES = 200


def weights_table(plan: Plan) -> pd.DataFrame:
    """Candidates of one weight whose best subset is near enough: the median draw's, and certified for 1 - delta.

    "Units" are those of a network, half of which see the other sign; "uniform terms" are numbers on [-1, 1], as in the
    subset-sum problem itself.
    """
    rows = []
    for weight, error in itertools.product([*plan.weights, None], plan.weight_errors):
        row: dict[str, str | int | float | None] = {"weight": "uniform" if weight is None else weight, "error": error}
        for name in ("units", "uniform terms"):
            needed = np.sort([_candidates(plan, name, weight, error, trial) for trial in range(plan.trials)])
            middle, most = (needed[rank - 1] for rank in (-(-plan.trials // 2), successes(plan.trials, plan.delta)))
            row |= {f"{name}, median": _finite(middle), f"{name}, {1 - plan.delta:g}": _finite(most)}
        rows.append(row)
    return pd.DataFrame(rows).astype(dict.fromkeys(list(rows[0])[2:], "Int64"))


def _candidates(plan: Plan, name: str, weight: float | None, error: float, trial: int) -> float:
    random = np.random.default_rng([plan.seed, trial])  # all rows see the same draws
    wanted = random.uniform(-1, 1) if weight is None else weight
    terms: Array = products(random, (_CANDIDATES,)) if name == "units" else random.uniform(-1, 1, _CANDIDATES)
    found = candidates_needed(terms, wanted, error)
    return np.inf if found is None else found


def _finite(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None
