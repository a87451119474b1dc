"""The loops of a masked step over the layers, written for numba; ``machine_code`` keeps what it makes of them.

They work on addresses and numbers, allocate nothing, raise nothing and call nothing, so their machine code runs without
numba. Settings are arguments: there is one form for each dtype of the scores, and one for packed signs.
"""
