"""torch.compile: a masked model is a dense one, and a whole step may be compiled too."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from suite import methods

pytestmark = pytest.mark.slow  # torch compiles


def a_training(slow: SimpleNamespace, name: str, *, compiled: str = "") -> tuple[list[float], nn.Module]:
    """Losses of six steps, and the trained net; ``compiled`` is the backend, none for an eager step."""
    torch.manual_seed(0)
    net = slow.small_net()
    extra = {"sparsity": 0.5} if methods.get(name).masked else {}
    extra |= {"rerandomize_every": 2, "rerandomize_prob": 0.5} if name == "iterand" else {}
    optimizer = methods.get(name)(methods.prunable(net), lr=0.1, **extra)

    def step(number: int) -> torch.Tensor:
        images, classes = batches[number]
        loss = cross_entropy(net(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    batches = [slow.batch(number) for number in range(6)]
    taken = torch.compile(step, backend=compiled) if compiled else step
    return [float(taken(number)) for number in range(6)], net


@pytest.mark.parametrize("name", ["edge_popup", "iterand", "weights"])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch asks it of its own tensors
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's own SGD uses it
def test_a_compiled_step_is_the_eager_step(slow: SimpleNamespace, name: str) -> None:
    torch._dynamo.reset()
    losses, net = a_training(slow, name, compiled="aot_eager")
    expected, eager = a_training(slow, name)
    assert losses == expected
    assert all(slow.equal_bits(a, b) for a, b in zip(net.parameters(), eager.parameters(), strict=True))


@pytest.mark.parametrize("name", ["edge_popup", "iterand"])
def test_the_model_has_no_graph_break(slow: SimpleNamespace, name: str) -> None:
    _, net = a_training(slow, name)
    torch._dynamo.reset()
    explained = torch._dynamo.explain(net)(slow.batch(0)[0])
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
