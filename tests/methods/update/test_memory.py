"""What masked training keeps in memory, in bytes a weight: counted in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
COUNT = """
import gc, json, sys
import torch
from torch import nn
from suite import methods

def count(name, settings):
    def live():
        'Bytes a weight of all storages that tensors hold.'
        gc.collect()
        found = {}
        for each in [each for each in gc.get_objects() if isinstance(each, torch.Tensor)]:
            for tensor in (each, each.grad if each.is_leaf else None):
                if tensor is not None:
                    storage = tensor.untyped_storage()
                    found[storage.data_ptr()] = storage.nbytes()
        return round(sum(found.values()) / size, 2)

    def step():
        optimizer.zero_grad(set_to_none=False)
        model(torch.ones(3, 1000)).square().sum().backward()
        optimizer.step()

    model = nn.Sequential(nn.Linear(1000, 1200, bias=False), nn.ReLU(), nn.Linear(1200, 40, bias=False))
    size = sum(param.numel() for param in model.parameters())
    optimizer = methods.get(name)(model.parameters(), **settings)
    counts = {"built": live()}
    step()
    counts["one step"] = live()
    for _ in range(6):
        step()
    counts["steps"] = live()
    state = optimizer.state_dict()
    counts["state_dict"] = live()
    del state
    counts["state_dict dropped"] = live()
    with open(sys.argv[2], "wb") as file:
        torch.save(optimizer.state_dict(), file)
    counts["saved"] = live()
    optimizer.load_state_dict(torch.load(sys.argv[2], weights_only=True))
    counts["loaded"] = live()
    step()
    counts["gone on"] = live()
    mask = optimizer.mask(model[0].weight) if optimizer.masked else None
    del mask
    counts["asked for a mask"] = live()
    optimizer.zero_grad()
    counts["without gradients"] = live()
    return counts

torch.set_num_threads(1)
gc.freeze()  # what importing made is none of ours
json.dump([count(*case) for case in json.loads(sys.argv[1])], sys.stdout)
"""
MASKED = {"lr": 0.1, "sparsity": 0.5}
REDRAWS = {**MASKED, "rerandomize_every": 2, "rerandomize_prob": 0.5}
PACKED = {"pack_signs": True}


CASES = {
    "weights": ("weights", {"lr": 0.1}, 12.0, 0.0),
    "edge_popup": ("edge_popup", {**MASKED, "rank_by": "abs_scores", "max_score_grad_norm": 1.0}, 20.0, 0.0),
    "packed_iterand": ("iterand", {**REDRAWS, **PACKED}, 16.13, 4.0),  # 1/8 a weight, and a table of 8 KiB
}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """The counts of each case, one after the other."""
    cases = json.dumps([case[:2] for case in CASES.values()])
    command = [sys.executable, "-c", COUNT, cases, str(tmp_path_factory.mktemp("memory") / "state")]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_bytes_a_weight(counted: dict[str, dict[str, float]], case: str) -> None:
    """Parameter, gradient, momentum, scores and theta, and nothing else of a layer's size at any time.

    ``extra`` is what ``state_dict()`` adds as long as someone holds it: theta, where it is packed.
    """
    _, _, num_bytes, extra = CASES[case]
    expected = dict.fromkeys(counted[case], num_bytes)
    expected["built"] = expected["without gradients"] = num_bytes - 4
    if case == "weights":  # whose momentum torch makes in the first step
        expected["built"] = 4.0
    expected["state_dict"] = num_bytes + extra
    assert counted[case] == pytest.approx(expected, abs=0.02)
