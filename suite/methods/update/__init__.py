"""The arithmetic of one masked step, apart from the keeping of state. ``plain`` is the specification."""
