"""The contract of ``suite.methods`` for the suite's own methods: settings."""

import pytest

from suite import methods
from suite.testing.method.cases import NAMES
from suite.testing.method.test_settings import *


def test_an_unknown_method_is_an_error_with_the_names() -> None:
    with pytest.raises(ValueError, match=f"'edgepopup': must be one of {', '.join(NAMES)}"):
        methods.get("edgepopup")
