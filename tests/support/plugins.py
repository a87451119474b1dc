"""A plugin in a file, for tests that train nothing with it."""

FADING = '''
from typing import Literal

from suite.config import MethodSettings


class FadingSettings(MethodSettings):
    """Weights that fade: a method of one's own."""

    name: Literal["fading"]
    """The only one."""

    half_life: int = 7
    """Steps after which half of a weight is left."""

    IMPLEMENTATION = "nowhere:Fading"
'''
