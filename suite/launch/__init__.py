"""How one trial is run: ``inline`` is in this process."""
