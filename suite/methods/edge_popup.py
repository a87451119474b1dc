"""Edge-popup: train a score per weight over fixed random weights; the best-scored weights are kept.

Source: Ramanujan et al., "What's hidden in a randomly weighted neural network?" (CVPR 2020), section 3.
"""

from suite.methods.masked import MaskedOptimizer


class EdgePopup(MaskedOptimizer):
    """SGD on the scores of a random network's weights; the parameters hold ``theta * mask``.

    Its rules are the defaults of ``suite.methods.rules``. The arguments are those of :class:`MaskedOptimizer`.
    """
