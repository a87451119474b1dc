"""The source of plugins: in the identity of code, in records, and in what jobs get."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.plugin_packages import FILE, METHOD, OPTIMIZER, installed, write_method

from suite.config import Trial, plugin_files
from suite.records import Outcome, plugin_source, source_code
from suite.records.ledger import other_plugins
from suite.slurm.profile import Profile
from suite.slurm.request import setup_lines
from suite.slurm.site import Site

TRIAL: dict[str, Any] = {
    "dataset": "digits",
    "model": {"name": "conv2"},
    "seed": 7,
    "epochs": 4,
    "global_batch_size": 64,
}
PLAIN = {"name": "weights", "lr": 0.1}
POP = {"name": "pop", "lr": 0.1, "sparsity": 0.5}


def trial(method: dict[str, Any]) -> Trial:
    return Trial.model_validate({**TRIAL, "method": method})


def with_source(folder: Path, optimizer: str) -> tuple[str, list[plugin_source.PluginUse], str]:
    """The identity of the code of a trial with a plugin, the plugins it uses, and the identity of one without."""
    write_method(folder)
    (folder / "popper/optimizer.py").write_text(optimizer)
    plugin_source.source_id.cache_clear()
    with installed(folder):
        used = plugin_source.used_by(trial(POP))
        return source_code.code_id_of_trial(trial(POP)), used, source_code.code_id_of_trial(trial(PLAIN))


def test_the_code_of_a_trial_covers_the_plugins_that_it_uses(tmp_path: Path) -> None:
    texts = (OPTIMIZER, f"# words\n{OPTIMIZER}", f"{OPTIMIZER}    x = 1\n")
    found = [with_source(tmp_path / str(i), text) for i, text in enumerate(texts)]
    codes = [code for code, _, _ in found]
    assert codes[0] == codes[1] != codes[2]
    assert {plain for _, _, plain in found} == {source_code.code_id()}
    assert all(code.startswith(f"{source_code.code_id()}+") for code in codes)


def test_a_record_of_other_source_is_named_with_the_plugin(tmp_path: Path) -> None:
    _, before, _ = with_source(tmp_path / "before", OPTIMIZER)
    write_method(tmp_path / "now", version="1.1")
    (tmp_path / "now/popper/optimizer.py").write_text(f"{OPTIMIZER}    x = 1\n")
    plugin_source.source_id.cache_clear()
    with installed(tmp_path / "now"):
        record = Outcome.model_construct(plugins=before)
        said = other_plugins(record, trial(POP))
        assert said and "method pop of popper 1.1" in said and "popper 1.0" in said
        assert other_plugins(Outcome.model_construct(plugins=plugin_source.used_by(trial(POP))), trial(POP)) is None
        assert other_plugins(Outcome.model_construct(plugins=[]), trial(PLAIN)) is None


def test_a_frozen_copy_has_the_installed_plugins(tmp_path: Path) -> None:
    write_method(tmp_path / "site")
    plugin_source.source_id.cache_clear()
    with installed(tmp_path / "site"):
        archive = source_code.freeze(tmp_path / "code")
        wanted = source_code.code_id_of_trial(trial(POP)), trial(POP).trial_id
    code = (
        "from suite.config import Trial; from suite.records import source_code; import popper.settings, popper; "
        f"trial = Trial.model_validate({ {**TRIAL, 'method': POP}!r}); "
        "print(source_code.code_id_of_trial(trial), trial.trial_id, popper.__file__)"
    )
    given = {"PYTHONPATH": str(archive), "PYTHONSAFEPATH": "1"}
    said = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True).stdout
    assert said.split() == [*wanted, f"{archive}/popper/__init__.py"]


def test_jobs_get_copies_of_the_files_that_later_edits_do_not_touch(tmp_path: Path) -> None:
    (tmp_path / "quick.py").write_text(FILE)
    plugin_files.use([tmp_path / "quick.py"])
    try:
        site = Site.prepare("s", Profile(), tmp_path / "results", tmp_path)
        [copy] = site.plugin_files
        (tmp_path / "quick.py").write_text(METHOD)
        assert copy.name == "quick.py" and copy.read_text() == FILE
        assert f"export SUITE_PLUGINS={copy}" in setup_lines(site.profile, str(site.archive), site.plugin_files)
    finally:
        plugin_files.use([])


@pytest.mark.parametrize("module", ["settings", "optimizer"])
def test_every_module_of_a_package_counts(tmp_path: Path, module: str) -> None:
    write_method(tmp_path)
    ids = []
    for extra in ("", "x = 1\n"):
        with (tmp_path / f"popper/{module}.py").open("a") as file:
            file.write(extra)
        plugin_source.source_id.cache_clear()
        with installed(tmp_path):
            ids.append(plugin_source.used_by(trial(POP))[0].source_id)
    assert ids[0] != ids[1]
