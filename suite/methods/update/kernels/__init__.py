"""Triton kernels of the CUDA form: one pass over all layers, the exact masks, and redraws."""

from suite.methods.update.kernels.redraw import redraw
from suite.methods.update.kernels.settle import settle
from suite.methods.update.kernels.update import update

__all__ = ["redraw", "settle", "update"]
