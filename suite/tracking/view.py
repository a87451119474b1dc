"""What MLflow's page shows of a sweep: which settings are parameters, and the view that its link opens."""

import json
from collections.abc import Iterable
from typing import Any

from suite.config import Trial
from suite.config.grid import flatten
from suite.config.sweep_file import Sweep

KEY = "suite"  # of the view, in links and in the experiment's tag
TAG = f"mlflow.sharedViewState.{KEY}"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # of a training run, not of a language model
_METHOD, _WIDTH = "method.name", "model.width_mult"
_ALWAYS = (_METHOD, _WIDTH)  # what every sweep is read by
_TRIALS = "tags.trial_id != ''"  # all runs but the report
_NAME_PIXELS = 440  # "edge-popup, conv2 x0.09375, seed 5, 0123456789ab"


def varying(sweep: Sweep) -> set[str]:
    """The settings that take more than one value among the trials that have them, and what every sweep is read by."""
    return _varying(sweep.trials.values()) | set(_ALWAYS)


def _varying(trials: Iterable[Trial]) -> set[str]:
    seen: dict[str, set[str]] = {}
    for trial in trials:
        for key, value in settings_of(trial).items():
            seen.setdefault(key, set()).add(value)
    return {key for key, values in seen.items() if len(values) > 1}


def _asked(sweep: Sweep) -> list[str]:
    """The settings that get a column: those that vary among the trials of a method, not those that only follow it."""
    methods: dict[str, list[Trial]] = {}
    for trial in sweep.trials.values():
        methods.setdefault(trial.method.name, []).append(trial)
    return [*_ALWAYS, *sorted(set().union(*map(_varying, methods.values())) - set(_ALWAYS))]


def settings_of(trial: Trial) -> dict[str, str]:
    """All settings of a trial as MLflow has them."""
    return {key: str(value) for key, value in flatten(trial.model_dump(mode="json")).items()}


def state(sweep: Sweep) -> str:
    """The view that the link opens: trials grouped by method and width, and accuracy against width as a chart."""
    tested = all(trial.evaluate_test for trial in sweep.trials.values())
    metric = "test/top1" if tested else "val/top1"
    columns = [f"metrics.`{metric}`", *(f"params.`{key}`" for key in _asked(sweep))]
    return json.dumps(
        {
            "searchFilter": _TRIALS,
            "orderByKey": f"metrics.`{metric}`",
            "orderByAsc": False,
            "selectedColumns": columns,
            "columnOrder": ["attributes.`Run Name`", *columns],
            "columnWidths": {"attributes.`Run Name`": _NAME_PIXELS},
            "groupBy": {"aggregateFunction": "average", "groupByKeys": [_key(_METHOD), _key(_WIDTH)]},
            "runsHiddenMode": "SHOW_ALL",
            "hideEmptyCharts": True,
            "useGroupedValuesInCharts": False,
            "compareRunSections": [_section("accuracy against width"), _section("accuracy by epoch")],
            "compareRunCharts": [_against_width(metric), _by_epoch()],
        }
    )


def _key(param: str) -> dict[str, str]:
    return {"mode": "param", "groupByData": param}


def _section(name: str) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}


def _against_width(metric: str) -> dict[str, Any]:
    return {
        "type": "SCATTER",
        "uuid": "accuracy-width",
        "metricSectionId": "accuracy against width",
        "deleted": False,
        "isGenerated": False,
        "displayName": f"{metric} against width",
        "xaxis": {"key": _WIDTH, "type": "PARAM"},
        "yaxis": {"key": metric, "type": "METRIC"},
        "runsCountToCompare": 1000,
    }


def _by_epoch() -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": "accuracy-epoch",
        "metricSectionId": "accuracy by epoch",
        "deleted": False,
        "isGenerated": False,
        "displayName": "val/top1 by step",
        "metricKey": "val/top1",
        "selectedMetricKeys": ["val/top1"],
        "xAxisKey": "step",
        "yAxisKey": "metric",
        "scaleType": "linear",
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
