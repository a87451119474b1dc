"""The contract of ``suite.methods`` for the suite's own methods: in networks and trainers of other people."""

import pytest
import torch
from torch import nn

from suite.testing.method.cases import build, each_selecting, full_state
from suite.testing.method.test_guests import *


@each_selecting
def test_signs_cannot_adopt_other_numbers(name: str) -> None:
    weight = nn.Parameter(torch.zeros(5, 5))
    optimizer = build(name, [weight], distribution="signed_constant", pack_signs=True)
    before = full_state(optimizer)[0]
    with torch.no_grad():
        weight.fill_(0.3)
    with pytest.raises(ValueError, match="signs alone cannot say them"):
        optimizer.adopt()
    assert full_state(optimizer)[0] == before
