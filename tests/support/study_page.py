"""Tables and figures of docs/explanation/studies.md, from kept records: ``make docs-studies``; a test compares tables.

A block of the page begins with ``<!-- STUDY STEM [TARGET ...] -->`` and ends with ``<!-- end -->``.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from support.documents import ROOT
from support.documents import blocks as blocks_of

from analysis import export, gate
from analysis.parts import markdown
from analysis.reports import figures, tables
from analysis.reports.gate import Reference, read
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import RESULT, Result, write_text_atomic
from suite.records.ledger import Ledger

PAGE = ROOT / "docs" / "explanation" / "studies.md"
KEPT = PAGE.parent / "study"
_BLOCK = re.compile(r"(<!-- (\w+) (\w+)((?: [\w.:]+)*) -->\n).*?\n?<!-- end -->", re.DOTALL)
_THIRTY = "digits_30"
FIGURES = {  # of which study, and where they go
    _THIRTY: {"figure.png": ROOT / "docs" / "images" / "width_vs_acc.png"},
    "fashion_width": {f"{stem}.png": KEPT / f"{stem}.png" for stem in ("figure", "pareto", "ratios", "learning")},
}


class Studies:
    """The kept records, unpacked into a folder when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sweep(self, name: str) -> Sweep:
        """The sweep of a study, with the seeds that are kept; ``digits_30`` has those of the gate's reference."""
        if name == "first":
            (text,) = (block.text for block in blocks_of("README.md") if block.language == "yaml")
            write_text_atomic(self._folder / "first.yaml", text)
            return load_sweep(self._folder / "first.yaml")
        if name not in ("digits", _THIRTY):
            return load_sweep(ROOT / "sweeps" / "study" / f"{name}.yaml")
        seeds = sorted({kept.seed for kept in self._reference.trials.values()}) if name == _THIRTY else [1, 2, 3, 4, 5]
        return load_sweep(ROOT / "sweeps" / "width_vs_acc.yaml", overrides=[f"seed={seeds}"])

    def ledger(self, name: str) -> Ledger:
        """The records of a study."""
        return self._thirty if name == _THIRTY else self._digits if name in ("digits", "first") else self._fashion

    def tables(self, name: str, targets: Sequence[str] = ()) -> dict[str, str]:
        """The tables of a study as Markdown, by stem."""
        made = tables.build_tables(self.sweep(name), self.ledger(name), targets)
        return {part.stem: markdown(part.shown) for part in made}

    def draw(self, name: str) -> None:
        """Make the figures of a study again."""
        sweep = replace(self.sweep(name), label=self.sweep(name).name)  # without the seeds, which would be its title
        made = {path.name: path for path in figures.make(sweep, self.ledger(name))}
        for figure, place in FIGURES[name].items():
            shutil.copyfile(made[figure], place)

    @cached_property
    def _reference(self) -> Reference:
        return read(gate.REFERENCE)

    @cached_property
    def _fashion(self) -> Ledger:
        return export.unpack(KEPT / "records.jsonl.gz", self._folder / "fashion")

    @cached_property
    def _digits(self) -> Ledger:
        return export.unpack(KEPT / "digits.jsonl.gz", self._folder / "digits")

    @cached_property
    def _thirty(self) -> Ledger:
        """The gate's reference as records: of each trial its accuracy; what the widths cost is that of seed 1."""
        ledger, reference = Ledger(self._folder / "thirty"), self._reference
        for trial_id, trial in self.sweep(_THIRTY).trials.items():
            like = self._digits.result(trial.model_copy(update={"seed": 1}))
            assert like is not None and like.data_id == reference.data_id
            own = {key: getattr(reference, key) for key in ("code_id", "git_commit", "device", "versions")}
            accuracy = {"test/top1": reference.trials[trial_id].metrics["test/top1"]}
            unknown = {"stored": [], "attempts": [], "test_correct": "", "test_predictions": []}
            this = {"trial_id": trial_id, "config": trial.model_dump(mode="json"), "metrics": accuracy}
            made = like.model_copy(update=own | unknown | this)
            ledger.folder(trial_id).mkdir(parents=True)
            write_text_atomic(ledger.folder(trial_id) / RESULT, Result.model_validate(made).model_dump_json())
        return ledger


def regenerated(text: str, studies: Studies, only: Sequence[str] | None = None) -> str:
    """A page with its blocks made again, or those of some studies."""
    names = dict.fromkeys(found[2] for found in _BLOCK.finditer(text) if only is None or found[2] in only)
    made = {name: studies.tables(name, targets_of(text, name)) for name in names}

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}{made[found[2]][found[3]]}\n<!-- end -->" if found[2] in made else found[0]

    return _BLOCK.sub(block, text)


def targets_of(text: str, name: str) -> list[str]:
    """What the blocks of a study match."""
    return [target for found in _BLOCK.finditer(text) if found[2] == name for target in found[4].split()]


def parts(text: str) -> tuple[str, str]:
    """A page's generated tables, and all else."""
    return "\n".join(found.group() for found in _BLOCK.finditer(text)), _BLOCK.sub("", text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        kept = Studies(Path(folder))
        PAGE.write_text(regenerated(PAGE.read_text(), kept))
        for study in FIGURES:
            kept.draw(study)
    print("written:", PAGE.relative_to(ROOT))
    sys.exit(0)
