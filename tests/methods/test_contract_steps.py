"""The contract of ``suite.methods`` for the suite's own methods: steps."""

from suite.testing.method.test_steps import *
