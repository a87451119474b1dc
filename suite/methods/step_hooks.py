"""Whether anybody looks at an optimizer's steps.

Torch wraps ``step`` of each optimizer class to call hooks and to name the step to a profiler, which costs more than the
update of a small network. A class whose ``step`` has ``hooked = True`` is left alone, and asks here instead.
"""

import torch
from torch.optim.optimizer import Optimizer, _global_optimizer_post_hooks, _global_optimizer_pre_hooks


def has_hooks(optimizer: Optimizer) -> bool:
    """Whether somebody wants to know of its steps: a profiler, or hooks of this optimizer or of all."""
    of_all = _global_optimizer_pre_hooks or _global_optimizer_post_hooks
    own = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return bool(of_all or own or torch._C._autograd._profiler_enabled())
