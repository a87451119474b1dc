"""What a trial that is done keeps of its network, and what a dense one is worth in smaller forms."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import trial_processes
from support.evaluations import Evaluated, record_evaluations

from suite import methods, tickets, train
from suite.config import InputError, Trial
from suite.testing.method.cases import cases_of


def trial_of(method: str, **changes: Any) -> Trial:
    return trial_processes.trial_of(method, checkpoint={}, **changes)  # only what is kept in the end


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    return record_evaluations(monkeypatch)


@pytest.mark.parametrize("evaluate_test", [True, False])
def test_a_dense_network_is_evaluated_in_each_form(evaluated: Evaluated, tmp_path: Path, evaluate_test: bool) -> None:
    result = train.train(trial_of("weights", evaluate_test=evaluate_test), tmp_path)
    splits = ["val", "test"][: 1 + evaluate_test]
    assert [split for split, _ in evaluated] == ["val", *splits * 4]  # int8-coded is of the same numbers as int8
    exact, bf16, int8, int4 = (evaluated[1 + len(splits) * i][1] for i in range(4))
    for plain, half, whole, coarse in zip(exact, bf16, int8, int4, strict=True):
        if plain.ndim < 2:
            assert torch.equal(plain, half) and torch.equal(plain, whole) and torch.equal(plain, coarse)
            continue
        assert torch.equal(half, plain.bfloat16().float())
        step = plain.abs().flatten(1).amax(1).view(-1, *[1] * (plain.ndim - 1)) / 127
        assert ((whole - plain).abs() <= step * 0.5001).all() and not torch.equal(whole, plain)
        assert ((coarse - plain).abs() <= step * 127 / 7 * 0.5001).all() and not torch.equal(coarse, whole)
    assert [stored.form for stored in result.stored] == ["fp32", "bf16", "int8", "int8-coded", "int4"]
    assert result.stored[2].metrics == result.stored[3].metrics != result.stored[4].metrics
    found = {key: value for key, value in result.metrics.items() if not key.startswith("train/")}
    assert result.stored[0].metrics == found
    assert all(stored.metrics.keys() == found.keys() for stored in result.stored)
    assert result.stored[1].metrics["val/loss"] != found["val/loss"]
    assert result.stored[0].bytes == (tmp_path / "network.safetensors").stat().st_size
    kept = tickets.load(tmp_path / "network.safetensors")
    assert all(map(torch.equal, kept.parameters(), exact))


@pytest.mark.parametrize(
    ("library", "method"), [("constriction", "iterand"), ("constriction", "weights"), ("safetensors", "weights")]
)
def test_a_missing_library_is_told_before_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, method: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=f"pip install {library}"):
        train.train(trial_of(method), tmp_path)
    assert not list(tmp_path.iterdir())
    assert train.train(trial_of(method, keep_network=False), tmp_path).status == "done"


@pytest.mark.parametrize("method", cases_of(methods.names()))
def test_no_network_is_kept_where_none_is_wanted(tmp_path: Path, method: str) -> None:
    result = train.train(trial_of(method, keep_network=False), tmp_path)
    assert result.stored == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "result.json"]
    assert trial_of(method, keep_network=False).trial_id == trial_of(method).trial_id
