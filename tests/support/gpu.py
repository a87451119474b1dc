"""Where tests marked ``gpu`` run: on a GPU, or, when the run sheet is rehearsed, on the CPU with tiny sizes.

The rehearsal lets masked steps on the CPU take Triton's kernels, in its interpreter.
"""

import os

import pytest
import torch

REHEARSAL = "SUITE_GPU_REHEARSAL" in os.environ
DEVICE = torch.device("cpu" if REHEARSAL else "cuda")

needs_a_gpu = pytest.mark.skipif(REHEARSAL, reason="a CPU cannot rehearse it")
