# SPDX-License-Identifier: BSD-3-Clause
"""What a run leaves behind when it ends: its summary, in the journal and as summary.json."""

from __future__ import annotations

from pathlib import Path

from probewise.experiment.config import Configuration
from probewise.experiment.devices import device_used
from probewise.experiment.durable import replace_text
from probewise.experiment.journal import Journal
from probewise.experiment.opening import Opened
from probewise.experiment.summary import Summary, summarise
from probewise.experiment.truth import similarity


def finished_summary(directory: Path) -> Summary | None:
    """The summary of a run that has ended, None of one that can go on."""
    with Journal.open(directory, write=False) as journal:
        if journal.meta("stop_reason") is None:
            return None
        return Summary(journal.meta("summary"))


def write_summary(
    configuration: Configuration, opened: Opened, reason: str, *, ended: bool, elapsed_ns: int
) -> Summary:
    """summary.json of what there is; in the journal too once the run has `ended` for good."""
    opened.recorder.write_notices(opened.take_notices())
    target = opened.source.target
    ssim = None
    if target is not None and target.values is not None and opened.learner.belief.told:
        ssim = similarity(opened.learner.belief.mean, target.values, opened.source.sites.shape)
    summary = summarise(
        configuration,
        opened.history,
        source=opened.source.name,
        policy=opened.chooser.name,
        stop_reason=reason,
        target=target,
        ssim=ssim,
        full_raster_ns=opened.source.full_raster_ns,
        device=device_used(opened.networks.table, opened.learner.belief.gp.device),
        models=opened.networks.table,
        notices=opened.noticed,
        wall_s=elapsed_ns * 1e-9,
    )
    if ended:
        opened.recorder.finish(reason, summary)
    replace_text(opened.directory / "summary.json", summary.to_json() + "\n")
    return summary
