"""docs/how-to/own_training.md: each snippet runs as it stands there, with the real libraries."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[3] / "docs/how-to/own_training.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
LIBRARIES = ("timm", "transformers", "lightning", "accelerate")
of_libraries = {
    name: next(text for text in SNIPPETS if re.search(rf"^(import|from) {name}\b", text, re.M)) for name in LIBRARIES
}
others = [text for text in SNIPPETS if text not in of_libraries.values()]


def run(snippet: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    found: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet, "own_training.md", "exec"), found)
    return found


@pytest.mark.slow
@pytest.mark.libraries
@pytest.mark.filterwarnings("ignore")  # of other people's code
@pytest.mark.parametrize("name", LIBRARIES)
def test_snippets_of_libraries(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with a resumed run compare its bits with those of an uninterrupted one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    importlib.import_module("suite.torchvision_shim")  # torchvision can be imported beside any torch then
    found = run(of_libraries[name], tmp_path, monkeypatch)
    assert ("resumed" in found) == (name != "timm")


def test_snippet_of_a_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(others[0], tmp_path, monkeypatch)
    assert [group["lr"] for group in found["optimizer"].param_groups] == [1.0, 0.1]
    assert (tmp_path / "net.ticket").exists()


def test_an_average_of_weights_has_fewer_zeros_until_the_mask_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, mask_again = others[1].split("with torch.no_grad():")
    found = run(before, tmp_path, monkeypatch)
    weights = [found["average"].module[i].weight for i in (0, 2)]
    masks = [found["optimizer"].mask(found["model"][i].weight) for i in (0, 2)]
    assert any(int((weight == 0).sum()) < int((~mask).sum()) for weight, mask in zip(weights, masks, strict=True))
    exec("with torch.no_grad():" + mask_again, found)
    assert all(bool((weight[~mask] == 0).all()) for weight, mask in zip(weights, masks, strict=True))


def test_averaged_scores_are_a_subnetwork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(others[2], tmp_path, monkeypatch)
    optimizer = found["optimizer"]
    for average, weight in zip(found["averages"], found["weights"], strict=True):
        keep = optimizer.mask(weight)
        assert torch.equal(keep, average >= average[keep].min()) and int((~keep).sum()) == round(
            0.5 * (keep.numel() - 1)
        )
        assert torch.equal(weight, torch.where(keep, optimizer.theta(weight), 0.0))
    assert (tmp_path / "average.ticket").exists()
