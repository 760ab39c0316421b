"""A run's data."""

from __future__ import annotations

from hotlap import data as datasets
from hotlap.data.dataset import Dataset
from hotlap.runs.reporter import Reporter
from hotlap.runs.run import Run


def load_data(run: Run, reporter: Reporter) -> Dataset:
    """The data set that a run was started with, as it is to be read; decoding is told to the reporter.

    Raises:
        UserError: as `hotlap.data.load`.
    """
    return datasets.load(
        run.data, data_dir=run.data_dir, notify=reporter.note, progress=reporter.decoding, **run.loading
    )
