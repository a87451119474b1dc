"""Run a trial in this process, which may see stale names: ``stale_trial TRIAL FOLDER TAKE_OVER [CACHING]``."""

import json
import sys
from pathlib import Path

from support.stale_names import StaleNames

from suite.config import Trial
from suite.launch import inline
from suite.launch.lease import TakenOver
from suite.stopping import EXIT_TAKEN_OVER

if __name__ == "__main__":
    trial, folder, take_over, caching = sys.argv[1:]
    if caching:
        StaleNames(Path(caching)).patch()
    try:
        inline.run(Trial.model_validate_json(trial), Path(folder), data_dir=None, take_over=json.loads(take_over))
    except TakenOver:
        sys.exit(EXIT_TAKEN_OVER)
