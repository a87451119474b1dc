"""A sweep file of 10 MB is answered within seconds, whatever is in it, and no file takes all memory."""

import os
import threading
import time
from pathlib import Path

import pytest
from support.sweep_files import AXES, BASE, GOOD, GRID, Load

from suite.config import InputError, kept_plan
from suite.config.sweep_file import load_sweep

MB = 10_000_000
BLOCK = "  - {model: {name: conv2}, method: {name: weights, lr: 0.1}, seed: %d}\n"
LARGE = {
    "seeds": GOOD.replace("seed: 1", "seed: [1" + ",1" * (MB // 2) + "]"),
    "blocks": GOOD.replace(GRID, "grid:\n" + "".join(BLOCK % i for i in range(MB // len(BLOCK)))),
    "keys": GOOD + "".join(f"k{i}: {i}\n" for i in range(MB // 13)),
    "settings": GOOD.replace(BASE, "{" + "".join(f"k{i}: 1, " for i in range(59_000)) + BASE[1:]) + "#" * MB,
    "axes": GOOD + "".join(f"  k{i}: [1, 2]\n" for i in range(29_000)) + "#" * MB,
    "wrong seeds": GOOD.replace("seed: 1", "seed: [-1" + ", -1" * 99_000 + "]") + "#" * MB,
    "a text": GOOD + f"description: {'x' * MB}\n",
    "a wrong text": GOOD.replace("seed: 1", f"seed: {'x' * MB}"),
    "almost a number": GOOD.replace("seed: 1", f"seed: {'1' * MB}x"),
    "comments": "# hello\n" * (MB // 8) + GOOD,
    "depth": GOOD.replace("seed: 1", "seed: " + "[" * MB),
    "a quote": GOOD + "description: '" + "x\n\n" * (MB // 3),
}
SLOW = ("settings", "axes", "wrong seeds")  # as many mistakes as values


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in LARGE])
def test_a_large_file_is_answered_soon(load: Load, name: str) -> None:
    start, problems = time.process_time(), tuple[str, ...]()
    try:
        load(LARGE[name])
    except InputError as error:
        problems = error.problems
    assert time.process_time() - start < 15  # 3 s on a machine of our own; others may share this one
    assert len(problems) <= 101 and all(len(line) < 2000 for line in problems)


def test_what_has_no_end_is_not_read_to_it() -> None:
    with pytest.raises(InputError, match=r"^/dev/zero: more than 20 MB: is no sweep file$"):
        load_sweep("/dev/zero")


def test_a_plan_that_was_kept_may_be_large(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = load(AXES)
    trials = [trial.model_dump(mode="json") for trial in sweep.trials.values()]
    text = kept_plan.text_of({"name": "t"}, trials, "/home/me/\udcff s.yaml")
    with monkeypatch.context() as small:
        small.setattr("suite.config.sweep_file._MOST_BYTES", 100)
        small.setattr("suite.config.yaml_text.MAX_VALUES", 10)
        assert load(text).trials == sweep.trials and kept_plan.source_of(text) == "/home/me/\udcff s.yaml"
        with pytest.raises(InputError):
            load(text[1:])
    edited = text.replace('"seed": 2', "seed: 3")  # by hand, in YAML
    assert {trial.seed for trial in load(edited).trials.values()} == {1, 3}


def test_a_pipe_is_read_once(load: Load) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=(AXES,))
    writer.start()
    sweep = load_sweep("pipe")
    writer.join()
    assert len(sweep.trials) == 6 and sweep.text == AXES
