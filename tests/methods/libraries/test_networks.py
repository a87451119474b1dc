"""Networks of timm and transformers: what gets a mask, drawn for which fan-in, trained, and kept as a ticket."""

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from suite import methods, tickets
from suite.testing.method.cases import MASKED, build, check_effective, fingerprint, with_settings

pytestmark = [pytest.mark.slow, pytest.mark.libraries, pytest.mark.filterwarnings("ignore")]
SIZES = dict(vocab_size=50, max_position_embeddings=16, num_hidden_layers=2, num_attention_heads=2, hidden_size=32)


@pytest.fixture(autouse=True, scope="module")
def torchvision() -> None:
    """timm and transformers import it: as it is, or ours where its operators are missing."""
    importlib.import_module("suite.torchvision_shim")


def timm_network(name: str, **sizes: Any) -> nn.Module:
    return importlib.import_module("timm").create_model(name, num_classes=4, **sizes)


def convnext() -> nn.Module:
    return timm_network("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 32, 64))


def vit() -> nn.Module:
    return timm_network("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3)


def gpt2() -> nn.Module:
    transformers = importlib.import_module("transformers")
    config = transformers.GPT2Config(**SIZES, bos_token_id=None, eos_token_id=None)
    return transformers.GPT2LMHeadModel(config)


def bert() -> nn.Module:
    transformers = importlib.import_module("transformers")
    return transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES, intermediate_size=64))


TOKENS = torch.arange(36).view(3, 12)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], torch.Tensor], set[str], dict[str, int]]] = {
    # a network, its loss, what is left out, and some fan-ins by hand
    "convnext": (
        convnext,
        lambda model: model(torch.ones(2, 3, 32, 32)).square().mean(),
        set(),
        {"stem.0.weight": 3 * 16, "stages.0.blocks.0.conv_dw.weight": 49, "stages.0.blocks.0.mlp.fc1.weight": 8},
    ),
    "vit": (
        vit,
        lambda model: model(torch.ones(2, 3, 32, 32)).square().mean(),
        {"cls_token", "pos_embed"},
        {"patch_embed.proj.weight": 3 * 64, "blocks.0.attn.qkv.weight": 48, "blocks.0.mlp.fc2.weight": 4 * 48},
    ),
    "gpt2": (
        gpt2,
        lambda model: model(TOKENS, labels=TOKENS).loss,
        {"transformer.wte.weight", "transformer.wpe.weight"},
        {"transformer.h.0.attn.c_attn.weight": 32, "transformer.h.1.mlp.c_proj.weight": 128},
    ),
    "bert": (
        bert,
        lambda model: model(TOKENS, labels=torch.tensor([0, 1, 0])).loss,
        {f"bert.embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")},
        {"bert.encoder.layer.0.intermediate.dense.weight": 32, "bert.encoder.layer.0.output.dense.weight": 64},
    ),
}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("network", NETWORKS)
def test_real_networks(network: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make, loss_of, left_out, fan_ins = NETWORKS[network]
    model = make().eval()  # without dropout
    with warnings.catch_warnings(record=True):
        groups = methods.trainable(model)
    found = groups[0]["params"]
    assert {each.name for each in found.missed} == left_out
    assert {weight[0]: weight.fan_in for weight in found if weight[0] in fan_ins} == fan_ins
    given = [id(pair[1]) for group in groups for pair in group["params"]]
    assert sorted(given) == sorted(map(id, model.parameters()))  # each once
    optimizer = build(name, groups, distribution="kaiming_uniform", **with_settings(name, plain_lr=0.01))
    before = fingerprint([param for _, param in found])
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    check_effective(optimizer)
    assert fingerprint([param for _, param in found]) != before
    if methods.trains_weights(optimizer):
        return
    tickets.save(tmp_path / "t", model, optimizer)
    assert fingerprint(dict(tickets.load(tmp_path / "t", model=make()).state_dict())) == fingerprint(
        dict(model.state_dict())
    )
