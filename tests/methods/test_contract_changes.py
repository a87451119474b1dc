"""The contract of ``suite.methods`` for the suite's own methods: what callers change between two steps."""

from suite.testing.method.test_changes import *
