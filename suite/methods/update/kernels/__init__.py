"""Triton kernels of the CUDA form: one pass over all layers, the exact masks, and redraws."""

from suite.methods.update.kernels.redraw import redraw
from suite.methods.update.kernels.select_mask import select_mask
from suite.methods.update.kernels.update import update

__all__ = ["redraw", "select_mask", "update"]
