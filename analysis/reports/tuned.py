"""The best settings of a search, as a sweep to run.

Chosen by validation accuracy alone, and only among settings all of whose trials are done. The new sweep has other seeds
than the search, since a seed that tuned something is never reported.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pandas as pd
import yaml

from analysis.parts.cells import planned_data
from suite.config import InputError, Trial, identity
from suite.config.fields import legal_range
from suite.config.grid import flatten
from suite.config.ranges import Range
from suite.config.sweep_file import Sweep
from suite.records.ledger import Ledger, LedgerEntry

METRIC = "val/top1"
GRID_KEYS = ("method.lr", "method.weight_decay")  # what a search over a grid chooses, where they vary


@dataclass
class Setting:
    """Values of the searched settings, with their trials by width and seed."""

    values: dict[str, Any]
    trials: dict[tuple[float, int], Trial] = field(default_factory=dict)
    top1: dict[tuple[float, int], float] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)  # why trials have no value

    @property
    def mean(self) -> float:
        """Over the widths, of the means over their seeds."""
        widths = dict.fromkeys(width for width, _ in self.top1)
        return fmean(fmean(top1 for (w, _), top1 in self.top1.items() if w == width) for width in widths)

    @property
    def text(self) -> str:
        """The values in one line."""
        parts = [f"{key.removeprefix('method.')} {_plain(value)}" for key, value in self.values.items()]
        return ", ".join(parts) or "nothing varies"


@dataclass
class Group:
    """All settings tried for one dataset, network, method and whatever else is not searched; best first."""

    label: str
    kept: list[Setting]
    left_out: list[Setting]
    warnings: list[str] = field(default_factory=list)

    @property
    def num_tried(self) -> int:
        """How many settings the search has."""
        return len(self.kept) + len(self.left_out)

    @property
    def tried(self) -> str:
        """How many settings there are, how many of them were left out, and why."""
        counts = sum((setting.missing for setting in self.left_out), Counter[str]())
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        left_out = f"{len(self.left_out)} left out (trials: {why})" if self.left_out else "none left out"
        return f"settings tried: {self.num_tried}, {left_out}"

    @property
    def why(self) -> list[str]:
        """What speaks for the best setting, in lines."""
        best = self.kept[0]
        second = f"{self.kept[1].text}: {_percent(self.kept[1].mean)} %" if len(self.kept) > 1 else "none"
        lines = [
            f"{METRIC} {_percent(best.mean)} %, mean of {len(best.top1)} trials; {self.tried}",
            f"runner-up: {second}",
        ]
        return lines + [f"WARNING: {warning}" for warning in self.warnings]


def groups(sweep: Sweep, ledger: Ledger) -> list[Group]:
    """The groups of a search, each with its settings by accuracy.

    Raises:
        InputError: results were made from different data, or a group has no setting all of whose trials are done.
    """
    searched, looked = _searched(sweep), ledger.lookup(sweep.trials)
    gathered: dict[frozenset[Any], dict[str, Setting]] = {}
    data: dict[str, set[str]] = {}
    for trial_id, trial in sweep.trials.items():
        flat = flatten(trial.model_dump())
        values = {key: flat[key] for key in searched if key in flat}
        fixed = frozenset(item for item in flatten(identity(trial)).items() if item[0] not in _own(searched))
        setting = gathered.setdefault(fixed, {}).setdefault(json.dumps(values), Setting(values))
        _add(setting, trial, looked[trial_id], data.setdefault(planned_data(trial), set()))
    for planned, ids in data.items():
        if len(ids) > 1:
            raise InputError(f"{planned}: results were made from different data: {', '.join(sorted(ids))}")
    found = [_group(label, settings) for label, settings in zip(_labels(gathered), gathered.values(), strict=True)]
    if empty := [group for group in found if not group.kept]:
        raise InputError(*(f"{group.label}: no setting has all of its trials done: {group.tried}" for group in empty))
    for group in found:
        group.warnings = list(_warnings(group, sweep))
    return found


def tuned_sweep(sweep: Sweep, found: list[Group], seeds: Sequence[int]) -> str:
    """The sweep file of the best settings: a block of the grid for each network, a block in it for each method."""
    blocks: dict[str, tuple[dict[str, Any], list[float], list[tuple[Group, dict[str, Any]]]]] = {}
    for group in found:
        for rest, method, widths in _without_method(group.kept[0]):
            _, _, methods = blocks.setdefault(json.dumps([rest, widths]), (rest, widths, []))
            methods.append((group, method))
    rests = [rest for rest, _, _ in blocks.values()]
    shared = {key for key in rests[0] if key != "model" and all(rest.get(key) == rests[0][key] for rest in rests)}
    lines = _head(sweep, {key: value for key, value in rests[0].items() if key in shared})
    for rest, widths, methods in blocks.values():
        own = {"model": rest["model"] | {"width_mult": widths}, "seed": list(seeds)}
        own |= {key: value for key, value in rest.items() if key not in shared | {"model"}}
        lines += [f"{'    ' if i else '  - '}{key}: {_flow(value)}" for i, (key, value) in enumerate(own.items())]
        lines.append("    method:")
        for group, method in methods:
            lines += [f"      # {line}" for line in group.why]
            lines.append(f"      - {_flow(method)}")
    return "\n".join(lines) + "\n"


def table(found: list[Group]) -> str:
    """The chosen settings in Markdown."""
    rows = [
        {
            "group": group.label,
            "chosen": group.kept[0].text,
            f"{METRIC}, %": _percent(group.kept[0].mean),
            "trials": str(len(group.kept[0].top1)),
            "settings": str(group.num_tried),
            "left out": str(len(group.left_out)),
            "runner-up": group.kept[1].text if len(group.kept) > 1 else "",
            "its %": _percent(group.kept[1].mean) if len(group.kept) > 1 else "",
        }
        for group in found
    ]
    align = ["left", "left", "right", "right", "right", "right", "left", "right"]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=align)


def _searched(sweep: Sweep) -> tuple[str, ...]:
    if sweep.search is not None and sweep.search.name == "random":
        return sweep.searched
    flats = [flatten(trial.model_dump()) for trial in sweep.trials.values()]
    return tuple(key for key in GRID_KEYS if len({flat[key] for flat in flats}) > 1)


def _own(searched: tuple[str, ...]) -> tuple[str, ...]:
    return (*searched, "model.width_mult", "seed")


def _add(setting: Setting, trial: Trial, found: LedgerEntry, data: set[str]) -> None:
    place = (trial.model.width_mult, trial.seed)
    setting.trials[place] = trial
    state, result, _ = found
    if result is not None:
        data.add(result.data_id)
    top1 = result.metrics.get(METRIC) if result is not None and result.status == "done" else None
    if top1 is not None:
        setting.top1[place] = top1
    else:
        setting.missing[f"without {METRIC}" if state == "done" else state] += 1


def _group(label: str, settings: dict[str, Setting]) -> Group:
    """Settings are comparable where they were planned for the same widths and seeds."""
    planned = {place for setting in settings.values() for place in setting.trials}
    for setting in settings.values():
        if unplanned := planned - setting.trials.keys():
            setting.missing["not planned"] += len(unplanned)
    kept = [setting for setting in settings.values() if not setting.missing]
    left_out = [setting for setting in settings.values() if setting.missing]
    return Group(label, sorted(kept, key=lambda setting: -setting.mean), left_out)


def _labels(gathered: Iterable[frozenset[Any]]) -> list[str]:
    """Method, network and dataset, with whatever else differs between groups of one method."""
    flats = [dict(fixed) for fixed in gathered]
    shown = ("method.name", "model.name", "dataset.name")
    labels = []
    for flat in flats:
        alike = [other for other in flats if other["method.name"] == flat["method.name"]]
        differing = sorted(
            key for key in flat if key not in shown and any(other.get(key) != flat[key] for other in alike)
        )
        method = " ".join([flat[shown[0]], *(f"{key.split('.')[-1]}={_plain(flat[key])}" for key in differing)])
        labels.append(f"{method}, {flat[shown[1]]}, {flat[shown[2]]}")
    return labels


def _warnings(group: Group, sweep: Sweep) -> Iterable[str]:
    """One for each chosen value that lies on the edge of what was tried, where more could be tried beyond it."""
    best, settings = group.kept[0], [*group.kept, *group.left_out]
    example = next(iter(best.trials.values()))
    own = sweep.ranges_by_trial.get(example.trial_id, {})
    for key, value in best.values.items():
        tried = dict.fromkeys(setting.values[key] for setting in settings if key in setting.values)
        source = own.get(key, Range("choice", tuple(tried)))
        others = [
            sweep.ranges_by_trial.get(trial.trial_id, {}).get(key) for s in settings for trial in s.trials.values()
        ]
        ends = [end.ends for end in dict.fromkeys([source, *filter(None, others)]) if end.ends]
        low, high = min((low for low, _ in ends), default=0.0), max((high for _, high in ends), default=0.0)
        side = source.edge(value)
        end, bound = (low, high)[side == "upper"], legal_range(example, key)[side == "upper"]
        if side and source.ends and source.ends[side == "upper"] == end != bound:
            way = "up" if side == "upper" else "down"
            yield (
                f"{key}: {_plain(value)} lies on the {side} edge of what was tried, {_plain(low)} to {_plain(high)}: "
                f"extend the search {way}wards"
            )


def _without_method(best: Setting) -> list[tuple[dict[str, Any], dict[str, Any], list[float]]]:
    """All but the method, the method, and the widths that have both so: what trials run on may differ with width."""
    parts: dict[str, tuple[dict[str, Any], dict[str, Any], list[float]]] = {}
    known: set[float] = set()
    for (width, _), trial in best.trials.items():
        if width not in known:
            known.add(width)
            rest = trial.model_dump(mode="json", exclude_defaults=True, exclude={"seed", "evaluate_test"})
            rest["model"].pop("width_mult", None)  # it may be the default
            method = {"name": trial.method.name, **rest.pop("method")}  # read first
            parts.setdefault(json.dumps([rest, method]), (rest, method, []))[2].append(width)
    return list(parts.values())


def _head(sweep: Sweep, base: dict[str, Any]) -> list[str]:
    seeds = ", ".join(map(str, sorted({trial.seed for trial in sweep.trials.values()})))
    told = f"Settings that {sweep.name} found best by mean {METRIC} over its widths, with tuning seeds {seeds}."
    lines = [f"name: {sweep.name[:58]}_tuned", f"description: {_flow(told)}", "settings: tuned", "base:"]
    return [*lines, *(f"  {key}: {_flow(value)}" for key, value in base.items()), "grid:"]


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=sys.maxsize, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
