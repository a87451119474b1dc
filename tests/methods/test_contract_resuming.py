"""The contract of ``suite.methods`` for the suite's own methods: files, copies, hooks."""

from suite.testing.method.test_resuming import *
