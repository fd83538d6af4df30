# SPDX-License-Identifier: BSD-3-Clause
"""What turns a measurement into values: a workflow of the descriptors room, or a callable of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from probewise.errors import ConfigurationError, Error
from probewise.experiment.config import Configuration
from probewise.experiment.networks import Networks
from probewise.experiment.values import combine, returned
from probewise.experiment.watch import Watch
from probewise.types import Atoms, Description, FloatArray, Frame, Spectrum

Scalarize: TypeAlias = Callable[[Any], Any]


class Describer(Protocol):
    """A workflow as the loop sees it."""

    @property
    def fitted(self) -> bool: ...

    def describe(self, frame: Any) -> Description: ...

    def fit(self, descriptions: Sequence[Description], *, seed: int) -> Any: ...

    def value(self, description: Description) -> float: ...

    def told(self, description: Description) -> tuple[FloatArray, FloatArray]: ...

    def residual(self, description: Description) -> FloatArray: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...

    def needs_refit(self, recent: Sequence[FloatArray]) -> bool: ...


class Scalarized:
    """`scalarize(measurement) -> value | (value, variance) | Values`; there is no basis to fit."""

    fitted = True

    def __init__(self, scalarize: Scalarize) -> None:
        self._scalarize = scalarize

    def describe(self, frame: Any) -> Description:
        """`frame` is what was measured: a Frame, a Spectrum, or a told value of a replay."""
        try:
            given = self._scalarize(frame)
        except Error:
            raise
        except Exception as error:
            raise ConfigurationError(f"measure.scalarize raised {type(error).__name__}: {error}") from error
        try:
            told = returned(given)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"measure.scalarize returned {error}") from error
        extra: dict[str, Any] = {"value": told.values}
        if told.variance is not None:
            extra["variance"] = told.variance
        if isinstance(frame, Spectrum):
            extra |= {"spectrum": frame.counts, "energy_eV": frame.energy_eV}
        return Description(np.zeros((len(told.values), 0), dtype=np.float32), told.centre_yx, extra)

    def fit(self, descriptions: Sequence[Description], *, seed: int) -> None:
        raise AssertionError("a scalarized measurement has no basis")

    def value(self, description: Description) -> float:
        """The mean of all values, weighted by their variance where they have one; NaN of none."""
        values, _ = self.told(description)
        if not len(values):
            return float("nan")
        return float(combine(values, self.variance(description), np.zeros(len(values), dtype=np.int64), 1)[0][0])

    def told(self, description: Description) -> tuple[FloatArray, FloatArray]:
        return description.extra["value"], description.centre_yx

    def variance(self, description: Description) -> FloatArray | None:
        return description.extra.get("variance")

    def residual(self, description: Description) -> FloatArray:
        return np.zeros(1)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass

    def needs_refit(self, recent: Sequence[FloatArray]) -> bool:
        return False


def mean_counts(frame: Frame) -> float:
    """Default value of a point: mean counts of the first channel."""
    return float(np.nanmean(frame.image(), dtype=np.float64))


def share_of_counts(energy_eV: tuple[float, float] | None) -> Scalarize:
    """Default value of a spectrum: the share of its counts in a window."""
    if energy_eV is None:
        raise ConfigurationError(
            "measure.energy_eV is not set, expected [low, high] of the window that a spectrum is valued by, or "
            "scalarize given in Python"
        )
    low, high = energy_eV

    def value(spectrum: Spectrum) -> float:
        return spectrum.share(low, high)

    return value


def told_value(value: Any) -> float:
    """Value of a site of a told map: itself."""
    return float(value)


def make_describer(
    configuration: Configuration, scalarize: Scalarize | None, component: Any, networks: Networks, watch: Watch
) -> Describer:
    """The workflow that a configuration names, with the callables given in Python put in."""
    if scalarize is not None:
        return Scalarized(scalarize)
    if configuration.measure.scalarize is not None:
        raise ConfigurationError(
            f"measure.scalarize is {configuration.measure.scalarize!r}, expected the callable itself, given in Python"
        )
    if configuration.measure.kind == "point":
        return Scalarized(mean_counts)
    if configuration.measure.kind == "spectrum":
        return Scalarized(share_of_counts(configuration.measure.energy_eV))
    if configuration.descriptor.workflow == "dcnn":
        return _atom_workflow(configuration, component, networks, watch)
    if configuration.descriptor.workflow == "rvae":
        return _latent_workflow(configuration, component, networks, watch)
    from probewise.descriptors import LinearWorkflow

    table = configuration.descriptor
    return LinearWorkflow(
        window_px=configuration.replay_window_px if configuration.run.replay else table.window_px,
        step_px=configuration.replay_step_px if configuration.run.replay else table.step_px,
        components=table.components,
        method=table.method,
        component=component,
        sense=configuration.component.sense,
        refit_every=table.refit_every,
    )


def _atom_workflow(configuration: Configuration, component: Any, networks: Networks, watch: Watch) -> Describer:
    from probewise.descriptors import AtomWorkflow
    from probewise.image import Segmenter

    segmenter = Segmenter(networks.segments[0]) if networks.segments else None
    try:
        return AtomWorkflow(
            _look(networks, watch),
            networks.atoms[0].card.classes if networks.atoms else (),
            segmenter,
            segmenter.classes if segmenter is not None else (),
            component=component,
            sense=configuration.component.sense,
            refit_every=configuration.descriptor.refit_every,
            cells=configuration.refine,
        )
    except ValueError as error:
        raise ConfigurationError(f"component.by is {configuration.component.by!r}: {error}") from error


def _latent_workflow(configuration: Configuration, component: Any, networks: Networks, watch: Watch) -> Describer:
    from probewise.descriptors import LatentEncoder, LatentWorkflow

    table = configuration.descriptor
    try:
        return LatentWorkflow(
            LatentEncoder(networks.encoder[0]) if networks.encoder else None,
            _look(networks, watch, table.of) if networks.atoms else None,
            decoder=networks.decoder[0] if networks.decoder else None,
            step_px=table.step_px,
            component=component,
            sense=configuration.component.sense,
            refit_every=table.refit_every,
            cells=configuration.refine,
        )
    except ValueError as error:
        raise ConfigurationError(f"component.by is {configuration.component.by!r}: {error}") from error


def _look(networks: Networks, watch: Watch, of: Sequence[str] | None = None) -> Callable[[Frame], Atoms]:
    """What finds the atoms of a frame; those of the classes in `of`, where it is empty all but vacancies."""
    from probewise.descriptors.atom_columns import CAGED
    from probewise.image import AtomFinder, refine_atoms
    from probewise.image.column_test import VACANCY

    if not networks.atoms:  # a finished run is read without its networks, and looks at nothing
        return _blind
    finder = AtomFinder(networks.atoms, refine=False)
    classes = finder.card.classes
    wanted = None if of is None else np.isin(classes, of if of else [name for name in classes if name != VACANCY])

    def look(frame: Frame) -> Atoms:
        found = finder(frame)
        watch.see(finder.card.name, found.familiarity)
        if wanted is not None:
            own = wanted[found.label]
            found = dataclasses.replace(
                found, yx=found.yx[own], label=found.label[own], score=found.score[own], relabelled=None
            )
        # A network draws atoms to where the lattice has them: that makes its outliers stand out, and halves polar
        # displacements. Those are fitted to the counts.
        if CAGED not in classes or not (found.label == classes.index(CAGED)).any():
            return found
        refined = refine_atoms(np.ascontiguousarray(frame.image()), found.yx).yx
        return dataclasses.replace(found, yx=np.clip(refined, -0.5, np.array(frame.shape) - 0.5))

    return look


def _blind(frame: Frame) -> Atoms:
    raise AssertionError("a run that is read looks at no frame")


def chosen_component(configuration: Configuration, given: Any, ask: Callable[..., int] | None) -> Any:
    """What the workflow gets as its `component`: a rule, an index, a callable or a template array."""
    table = configuration.component
    if given is not None:
        return given
    if table.by == "ask":
        if ask is None:
            raise ConfigurationError("component.by is 'ask' but nobody can be asked here, expected a rule or an index")
        return ask
    if table.by == "callback":
        raise ConfigurationError("component.by is 'callback', expected the callable itself, given in Python")
    if table.by == "index" or (table.by == "rare" and table.index is not None):
        return table.index
    if isinstance(table.by, str) and table.by.endswith(".npy"):
        return _template(table.by)
    return table.by


def _template(path: str) -> Any:
    try:
        template = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ConfigurationError(f"component.by: template {path!r} cannot be read: {error.strerror}") from error
    except (ValueError, EOFError):
        template = None
    if not isinstance(template, np.ndarray) or template.dtype.kind != "f" or template.ndim not in (1, 2):
        raise ConfigurationError(
            f"component.by: {path!r} holds no template, expected an array of floats, (f,) or (rows, cols)"
        )
    if not np.isfinite(template).all():
        raise ConfigurationError(f"component.by: template {path!r} is not finite")
    return template
