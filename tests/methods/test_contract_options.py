"""The contract of ``suite.methods`` with options of all methods that rank scores, as its command checks it."""

import re
import subprocess
import sys

import pytest

PER_GROUP = {  # what one threshold over a group's layers cannot do
    "shards of an optimizer draw and train as one",
    "optimizers with one seed draw what one draws",
    "a group added later equals one given at once",
    "a parameter without a gradient is passed over",
    "a parameter passed over from the start does not shift the draws",
}
CASES = {
    ("edge_popup", "scope=global"): PER_GROUP,
    ("iterand", "update=adam"): {"a dense group is trained by sgd in the same step"},
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "setting"), CASES)
def test_all_demands_are_met_but_those_that_the_option_excludes(name: str, setting: str) -> None:
    command = [sys.executable, "-m", "suite.testing", "method", name, "--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = set(re.findall(r"^ +FAIL +(.*) \(", done.stdout, flags=re.MULTILINE))
    assert failed == CASES[name, setting], done.stdout + done.stderr
    assert len(re.findall(r"^ +ok +", done.stdout, flags=re.MULTILINE)) > 60
