"""Trials of the user's own images: their content is filled in before their id is made."""

from collections.abc import Callable

from suite.config.dataset_settings import OwnImageSettings
from suite.config.trial import Trial

ContentOf = Callable[[OwnImageSettings], str]  # finds the content of files


def filled_in(trial: Trial, contents: ContentOf | None) -> Trial:
    """The trial with the content of its files, where it is of the user's own images and does not say it.

    Raises:
        InputError: the files cannot be read; or nothing finds their content.
    """
    images = trial.dataset
    if not isinstance(images, OwnImageSettings) or images.content is not None or contents is None:
        return trial
    return trial.model_copy(update={"dataset": images.model_copy(update={"content": contents(images)})})
