# SPDX-License-Identifier: GPL-3.0-only
"""Surveys and experiments on a thread of their own. Nothing here knows of Swift's windows.

Every method of `Worker` but `close` returns at once; what happens is told to `post(kind, value)`, on the thread:

    status      a line of text
    survey      (rows, cols) picture
    mask        (rows, cols) of the sites, 1 where one is left out
    component   (index, picture), each of them; then `follow` is waited for, or the rarest is taken
    values      (rows, cols) of the sites, NaN where none was measured
    ended       None
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

Post = Callable[[str, Any], None]


@dataclass(frozen=True)
class Settings:
    """What a person sets; lengths in nm, `component` "rare" or "ask", `blanker` empty where there is none."""

    objective: str = "cover"
    component: str = "rare"
    steps: int = 60
    sites: int = 10
    side_nm: float = 8.0
    pixel_nm: float = 0.1
    dwell_us: float = 4.0
    survey_px: int = 256
    blanker: str = ""
    out: str | None = None

    def tables(self) -> dict[str, Any]:
        """As the tables of probewise.experiment.Configuration."""
        return {
            "instrument": {
                "uri": "nion:",
                "idle": "blank" if self.blanker else "park",
                "options": {"blanker": self.blanker} if self.blanker else {},
            },
            "survey": {"shape": (self.survey_px, self.survey_px), "mask": ()},
            "sites": {"shape": (self.sites, self.sites), "side_nm": self.side_nm, "pixel_nm": self.pixel_nm},
            "scan": {"dwell_ns": round(self.dwell_us * 1000)},
            "component": {"by": "ask"},
            "acquisition": {"objective": self.objective},
            "start": {"sites": max(1, min(20, self.steps // 2))},
            "budget": {"steps": self.steps},
            "run": {"out": self.out},
        }


class Worker:
    """One survey or run at a time."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._thread: threading.Thread | None = None
        self._experiment: Any = None
        self._stopped = False
        self._chosen: SimpleQueue[int | None] = SimpleQueue()

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def survey(self, settings: Settings) -> None:
        self._begin(self._survey, settings)

    def start(self, settings: Settings) -> None:
        self._begin(self._run, settings)

    def pause(self) -> None:
        if self._experiment is not None:
            self._experiment.pause()
            self._post("status", "paused")

    def go_on(self) -> None:
        if self._experiment is not None:
            self._experiment.go_on()
            self._post("status", "goes on")

    def follow(self, component: int) -> None:
        """Answer what component is followed."""
        self._chosen.put(component)

    def stop(self) -> None:
        """End after the scan that runs."""
        self._stopped = True
        if self._experiment is not None:
            self._experiment.stop("stopped in Swift")
        self._chosen.put(None)

    def close(self, timeout_s: float = 30.0) -> None:
        """Stop, and wait until the beam is safe."""
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # On the thread

    def _begin(self, task: Callable[[Settings], None], settings: Settings) -> None:
        if self.busy:
            self._post("status", "busy: stop it first")
            return
        self._stopped = False
        self._chosen = SimpleQueue()
        self._thread = threading.Thread(target=self._guarded, args=(task, settings), name="probewise", daemon=True)
        self._thread.start()

    def _guarded(self, task: Callable[[Settings], None], settings: Settings) -> None:
        try:
            task(settings)
        except Exception as error:  # noqa: BLE001  the person at the panel is told
            self._post("status", f"{type(error).__name__}: {error}")
        finally:
            self._experiment = None
            self._post("ended", None)

    def _survey(self, settings: Settings) -> None:
        from probewise.experiment.loading import load
        from probewise.experiment.survey import survey_only

        self._post("status", "surveys")
        survey = survey_only(load(overrides={**settings.tables(), "component": {"by": "rare"}}))
        self._post("survey", survey.frame.image())
        self._post("mask", survey.excluded.reshape(survey.sites.shape).astype("float32"))
        self._post("status", f"{int((~survey.excluded).sum())} of {survey.sites.size} sites are left")

    def _run(self, settings: Settings) -> None:
        import numpy as np

        from probewise.experiment import Experiment, open_run
        from probewise.experiment.loading import load

        def ask(descriptions: Any, frames: Any, workflow: Any) -> int:
            return self._choose(settings, descriptions, workflow)

        def surveyed(frame: Any) -> None:
            self._post("survey", frame.image())
            with open_run(experiment.directory) as run:
                self._post("mask", run.excluded.reshape(shape).astype("float32"))

        def stepped(step: Any) -> None:
            if step.value is not None:
                values.flat[step.site] = step.value
                self._post("values", values.copy())
            value = "no value yet" if step.value is None else f"value {step.value:.4g}"
            self._post("status", f"step {step.index + 1} of {settings.steps}: site {step.site}, {value}")

        shape = (settings.sites, settings.sites)
        values = np.full(shape, np.nan, dtype=np.float32)
        experiment = Experiment(configuration=load(overrides=settings.tables()), ask=ask)
        experiment.on("survey", surveyed)
        experiment.on("step", stepped)
        experiment.on("notice", lambda text: self._post("status", text))
        self._experiment = experiment
        if self._stopped:
            return
        self._post("status", "surveys")
        summary = experiment.run()
        self._post("status", f"{summary['measured']} sites measured ({summary['stop_reason']}): {experiment.directory}")

    def _choose(self, settings: Settings, descriptions: Any, workflow: Any) -> int:
        import numpy as np

        from probewise import select_component

        for index, picture in enumerate(workflow.basis_spectra()):
            self._post("component", (index, picture.astype("float32")))
        if settings.component == "ask" and not self._stopped:
            self._post("status", f"which component is followed, 0 to {workflow.components - 1}?")
            chosen = self._chosen.get()
            if chosen is not None and 0 <= chosen < workflow.components:
                return chosen
        values = np.concatenate([workflow.values(description) for description in descriptions])
        return select_component(values[:, : workflow.components])
