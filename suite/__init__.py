"""Three ways to train a network, compared under one protocol: weights, edge-popup and IteRand."""

__version__ = "0.1.0"
