"""The public functions of ``suite``. Each is imported when it is first used: see ``suite.__getattr__``."""
