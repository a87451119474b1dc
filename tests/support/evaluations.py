"""What a trial evaluates, and when: for tests that count it."""

from typing import Any

import pytest
from torch import Tensor

from suite.train import loop

Evaluated = list[tuple[str, list[Tensor]]]  # the splits in order, with the parameters that the network then had


def record_evaluations(monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    """The evaluations of trials from now on."""
    seen: Evaluated = []
    evaluate = loop.evaluate

    def watch(predict: Any, arrays: Any, split: Any, **options: Any) -> Any:
        seen.append((split, [param.detach().clone() for param in predict.__self__.model.parameters()]))
        return evaluate(predict, arrays, split, **options)

    monkeypatch.setattr(loop, "evaluate", watch)
    return seen
