"""The code of a plugin has a mistake: the sweep says so before it begins."""

from pathlib import Path

import pytest
from support.plugin_packages import installed, write_method

from suite import cli
from suite.sweep import __main__ as command

SWEEP = """
name: t
base: {dataset: digits, model: {name: conv2, width_mult: 0.0625}, epochs: 1, global_batch_size: 64}
grid: {seed: [1, 2], method: {name: pop, lr: 1.0, sparsity: 0.5}}
"""


@pytest.mark.parametrize(
    ("code", "said"), [("import no_such_module", "No module named"), ("", "has no attribute 'Pop'")]
)
def test_an_implementation_that_cannot_be_loaded_ends_the_sweep_before_it_begins(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_method(tmp_path / "site")
    (tmp_path / "site/popper/optimizer.py").write_text(code)
    (tmp_path / "t.yaml").write_text(SWEEP)
    with installed(tmp_path / "site"):
        assert cli.run(lambda: command.main(["t.yaml", "--dry-run"])) == 0  # which loads no torch
        capsys.readouterr()
        assert cli.run(lambda: command.main(["t.yaml"])) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("method pop: package popper 1.0: popper.optimizer:Pop: cannot be loaded: ") and said in line
    assert not (tmp_path / "results/trials").exists()
