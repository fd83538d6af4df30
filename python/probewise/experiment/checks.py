# SPDX-License-Identifier: BSD-3-Clause
"""What must hold between the tables of a configuration; each problem is one line that names the field."""

from __future__ import annotations

from collections.abc import Iterator

from probewise.experiment.config import COLUMNS, HAVE_LINES, RULES, Configuration


def cross_checks(configuration: Configuration) -> Iterator[str]:
    """Problems between tables, most basic first."""
    yield from _beam(configuration)
    yield from _measurement(configuration)
    yield from _component(configuration)
    yield from _descriptor(configuration)
    yield from _drift(configuration)
    yield from _surrogate(configuration)
    if configuration.run.replay:
        yield from _replay(configuration)
    else:
        yield from _geometry(configuration)
        yield from _windows(configuration)


def _beam(c: Configuration) -> Iterator[str]:
    inner, outer = c.instrument.detector_mrad
    if inner >= outer:
        yield f"instrument.detector_mrad is [{inner:g}, {outer:g}], expected inner below outer"
    if c.instrument.park is not None and not all(0 <= value <= 1 for value in c.instrument.park):
        yield f"instrument.park is {list(c.instrument.park)}, expected fractions of the survey field within 0..1"
    for name in ("max_e_per_A2", "electrons"):
        if getattr(c.budget, name) is not None and c.current_pA is None:
            yield (
                f"budget.{name} is set but the beam current is unknown, expected instrument.beam_current_pA"
                + (" (a replay has no dose)" if c.run.replay else "")
            )


def _measurement(c: Configuration) -> Iterator[str]:
    if c.measure.kind == "spectrum":
        if c.run.replay:
            yield "measure.kind is 'spectrum' in a replay, which has none, expected 'frame' or 'point'"
        if c.scan.path != "raster":
            yield f"scan.path is {c.scan.path!r} with measure.kind 'spectrum', expected 'raster'"
        if c.discard_lines:
            yield f"scan.discard_lines is {c.discard_lines} with measure.kind 'spectrum', expected 0"
    window = c.measure.energy_eV
    if window is not None and c.measure.kind != "spectrum":
        yield f"measure.energy_eV is {list(window)} with measure.kind {c.measure.kind!r}, expected it with 'spectrum'"
    if window is not None and window[0] >= window[1]:
        yield f"measure.energy_eV is {list(window)}, expected the lower energy first"
    if c.scan.path not in HAVE_LINES and c.discard_lines:
        yield f"scan.discard_lines is {c.discard_lines} with path '{c.scan.path}', expected 0: it has no lines"


def _drift(c: Configuration) -> Iterator[str]:
    if c.drift.correct == "off":
        return
    if c.run.replay:
        yield "drift.correct is 'reference' in a replay, which has no drift"
    elif c.survey.shape == "none":
        yield "drift.correct is 'reference' and survey.shape 'none', expected a survey to choose the patch from"
    elif c.fov_nm is not None and c.drift.side_nm + 2 * c.drift.max_nm > min(c.fov_nm):
        yield (
            f"drift.side_nm is {c.drift.side_nm:g} and drift.max_nm {c.drift.max_nm:g}, expected a patch that stays in "
            f"the field of {min(c.fov_nm):g} nm"
        )


def _component(c: Configuration) -> Iterator[str]:
    by = c.component.by
    if c.component.by == "index" and c.component.index is None:
        yield "component.by is 'index' but component.index is not set"
    if c.descriptor.workflow != "linear":  # the models say which columns there are
        if c.descriptor.workflow == "dcnn" and isinstance(by, str) and by.endswith(".npy"):
            yield (
                f"component.by is {by!r} with descriptor.workflow 'dcnn', expected a rule, an index or the name of a "
                f"column: atoms have no picture"
            )
        return
    if isinstance(by, str) and by not in (*RULES, *COLUMNS) and not by.endswith(".npy"):
        yield f"component.by is {by!r}, expected one of {', '.join((*RULES, *COLUMNS))}, an index or a FILE.npy"
    index = c.component.by if isinstance(c.component.by, int) else c.component.index
    if index is not None and index >= c.descriptor.components:
        yield f"component.index is {index}, expected below descriptor.components = {c.descriptor.components}"


def _descriptor(c: Configuration) -> Iterator[str]:
    table = c.descriptor
    if table.of and table.workflow != "rvae":
        yield f"descriptor.of is {list(table.of)} with descriptor.workflow {table.workflow!r}, expected it with 'rvae'"
    if table.window_px is not None and table.workflow != "linear":
        yield (
            f"descriptor.window_px is {table.window_px} with descriptor.workflow {table.workflow!r}, expected it with "
            f"'linear': the models say what they look at"
        )
    if table.step_px is not None and table.workflow == "dcnn":
        yield f"descriptor.step_px is {table.step_px} with descriptor.workflow 'dcnn', which has no windows"


def _surrogate(c: Configuration) -> Iterator[str]:
    table = c.surrogate
    separable = table.kernel == "rbf" or table.kernel.startswith("product-")
    if table.precision == "float16" and separable and c.sites.list is None:
        yield (
            f"surrogate.precision is 'float16' with surrogate.kernel {table.kernel!r}, expected float32 or float64: on "
            f"a lattice of sites this kernel stores nothing that could be kept so"
        )


def _geometry(c: Configuration) -> Iterator[str]:
    fov, sites = c.fov_nm, c.sites
    if sites.window_px is not None or sites.step_px is not None:
        yield "sites.window_px and sites.step_px describe a replay, expected run.replay = true with them"
    if fov is None:  # the instrument says; checked again when it has
        return
    yield from geometry(c, fov)


def geometry(c: Configuration, fov_nm: tuple[float, float]) -> Iterator[str]:
    """Do the sites fit a field of `fov_nm` (y, x)?"""
    sites = c.sites
    if sites.list is not None:
        if c.refine != 1:
            yield f"surrogate.refine is {c.refine} with sites.list, expected 1"
        for y, x in sites.list:
            half = sites.side_nm / 2
            if not (half <= y <= fov_nm[0] - half and half <= x <= fov_nm[1] - half):
                yield (
                    f"sites.list holds [{y:g}, {x:g}] nm, expected within {half:g} .. {fov_nm[0] - half:g} (y) and "
                    f"{half:g} .. {fov_nm[1] - half:g} (x) so that a side of {sites.side_nm:g} nm stays in the field"
                )
        size = len(sites.list)
    else:
        rows, cols = sites.shape
        pitch = (fov_nm[0] / rows, fov_nm[1] / cols)
        if sites.side_nm > min(pitch) * (1 + 1e-9) and not sites.overlap:
            yield (
                f"sites.side_nm is {sites.side_nm:g}, expected at most the pitch of {min(pitch):g} nm "
                f"(field / sites.shape); sites.overlap = true allows it"
            )
        if sites.side_nm > min(fov_nm):
            yield f"sites.side_nm is {sites.side_nm:g}, expected at most the field of {min(fov_nm):g} nm"
        if 2 * c.border >= min(rows, cols):
            yield f"sites.border is {c.border}, expected below half of sites.shape = [{rows}, {cols}]"
        size = rows * cols
    for index in sites.exclude:
        if index >= size:
            yield f"sites.exclude holds {index}, expected flat indices below {size}"


def _windows(c: Configuration) -> Iterator[str]:
    pixel, window = c.pixel_nm, c.descriptor.window_px
    if not c.by_windows or pixel is None:
        return
    yield from windows(c, pixels(c.sites.side_nm, pixel), window)


def windows(c: Configuration, side_px: int, window_px: int | None) -> Iterator[str]:
    """Do the descriptor's windows fit a frame of `side_px`?"""
    if side_px < 2:
        yield f"sites.pixel_nm is {c.pixel_nm}, expected at least two pixels over sites.side_nm = {c.sites.side_nm:g}"
    if window_px is not None and window_px > side_px:
        yield (
            f"descriptor.window_px is {window_px}, expected at most the {side_px} px of a frame "
            f"(sites.side_nm / sites.pixel_nm)"
        )
    if window_px is not None and window_px % 2:
        yield f"descriptor.window_px is {window_px}, expected an even number (its spectrum is cropped about the centre)"


def pixels(side_nm: float, pixel_nm: float) -> int:
    """Pixels along a side: the nearest whole number."""
    return round(side_nm / pixel_nm)


def power_of_two(side_nm: float, side_px: int) -> Iterator[str]:
    """Does a Hilbert curve fit sites of `side_px`?"""
    if side_px & (side_px - 1):
        fewer = 1 << side_px.bit_length() - 1
        fits = " or ".join(f"{side_nm / px:.10g} ({px} px)" for px in (fewer, 2 * fewer))
        yield (
            f"scan.path is 'hilbert' with sites of {side_px} x {side_px} px, expected a power of two: "
            f"sites.pixel_nm = {fits} fits sites.side_nm = {side_nm:g}"
        )


def _replay(c: Configuration) -> Iterator[str]:
    if c.sites.list is not None:
        yield "sites.list is set in a replay, expected sites.window_px and sites.step_px"
    if c.instrument.realtime:
        yield "instrument.realtime is set in a replay, which has no clock"
