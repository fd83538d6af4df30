# SPDX-License-Identifier: BSD-3-Clause
"""How far a place has moved between two scans of it, or that it cannot be told.

A lattice looks the same after a jump by one of its vectors, so that a shift is believed only where nothing else in the
frame fits nearly as well. Frames are compared in a band: fine enough to place, too coarse for the lattice to be seen,
without the slow changes that make every shift look alike. The correlation is normalised over what two frames have in
common at each shift (Padfield, IEEE Trans. Image Process. 21 (2012) 2706); a least-squares fit places its peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probewise.image.intensity import check_image
from probewise.types import Float32Array, FloatArray, IntArray

# The band passes details from `detail` to WIDE times it; LOBE details from a peak its own lobe has ended. EDGE details
# from the frame's edge the band knows nothing of it: what stays with the frame would say that nothing moved.
WIDE, LOBE, EDGE = 2.0, 4.0, 6.0
# Of a frame: at shifts with less in common anything fits by chance.
LEAST_COMMON = 0.35
SMALLEST = 2 * EDGE + 4 * LOBE  # side of a frame, in details
UNIQUE = 0.5  # second fit over the best of a reference patch
RIVAL = 0.7  # the same of a visit, whose noise is another's
KEPT = 0.6  # a visit's correlation over that of two scans of the reference
LARGEST_STEP = 1.5  # from the peak of the correlation to the fit, in samples of the band
LARGEST_ERROR_PX = 0.5
WANTED_ERROR_PX = 0.1  # of a reference, whose visits are to be known to 0.2
DETAILS_PX = (3.0, 4.5, 6.0)
OFF_PX, OFF_SHARE = 1.0, 0.05  # of a known move of the scan: scan errors are a few per cent
FIT_STEPS = 12


@dataclass(frozen=True)
class Shift:
    """How the content of a frame has moved against a reference, or why it cannot be told.

    yx_px        (y, x) pixels; what lay at p in the reference lies at p + yx_px
    error_px     (y, x) standard deviations by the fit's noise
    correlation  of the two frames at that shift, in the band
    rival        best correlation elsewhere, over `correlation`
    doubts       why the shift is not to be believed, empty where it is
    """

    yx_px: tuple[float, float]
    error_px: tuple[float, float]
    correlation: float
    rival: float
    doubts: tuple[str, ...] = ()

    @property
    def believed(self) -> bool:
        return not self.doubts


class Patch:
    """A place that is told from all others about it.

    image        (rows, cols) float32 counts, any gain and offset, two pixels or more to the finest spacing seen:
                 a lattice on fewer beats with the pixels, and its fringes move otherwise than it does
    detail_px    smallest detail that is compared: standard deviation of a Gaussian, above 0.4 of the lattice's spacing
    correlation  of two scans of the place, what the best fit can reach; None takes 1
    reach_px     largest shift that is looked for; None takes all that leave a third in common
    raises       TypeError, ValueError for a wrong image or number
    """

    def __init__(
        self,
        image: Float32Array,
        detail_px: float,
        *,
        correlation: float | None = None,
        reach_px: float | None = None,
    ) -> None:
        check_image(image)
        if not (math.isfinite(detail_px) and detail_px >= 1):
            raise ValueError(f"detail_px is {detail_px}, expected a finite number of at least 1")
        if min(image.shape) < SMALLEST * detail_px:
            raise ValueError(
                f"image is {image.shape[0]} x {image.shape[1]} pixels, expected at least {SMALLEST * detail_px:g} of "
                f"them a side with detail_px {detail_px:g}"
            )
        if correlation is not None and not 0 < correlation <= 1:
            raise ValueError(f"correlation is {correlation}, expected a number above 0 and at most 1")
        if reach_px is not None and not reach_px >= 1:
            raise ValueError(f"reach_px is {reach_px}, expected at least 1")
        self.shape = image.shape
        self.detail_px = float(detail_px)
        self.correlation = 1.0 if correlation is None else correlation
        self.reach_px = math.inf if reach_px is None else float(reach_px)
        self._band = band(image, detail_px)

    @property
    def repetition(self) -> float:
        """Largest correlation of the patch with itself at any other shift: 1 on a lattice; unique below 0.5.

        Noise makes it smaller, and a noisy lattice seem unique: `reference_patch` asks two scans instead.
        """
        return self._peak(self._band)[2]

    def locate(self, image: Float32Array) -> Shift:
        """Find the patch in another frame of the same shape and pixel size.

        raises  TypeError, ValueError for a wrong image
        """
        check_image(image)
        if image.shape != self.shape:
            raise ValueError(f"image is {image.shape[0]} x {image.shape[1]} pixels, expected {self.shape}")
        other = band(image, self.detail_px)
        stride = _stride(self.detail_px)
        peak, best, rival, isolated = self._peak(other)
        coarse = (peak[0] - other.shape[0] + 1, peak[1] - other.shape[1] + 1)
        shift, error = refine(self._band, other, coarse, self.detail_px / stride)
        left = float(np.abs(shift - coarse).max())
        shift, error = shift * stride, error * stride
        doubts = []
        if not rival <= RIVAL:
            doubts.append(f"another place fits {rival:.2f} times as well, expected at most {RIVAL:g}")
        if not best >= KEPT * self.correlation:
            doubts.append(f"correlation is {best:.2f}, expected at least {KEPT * self.correlation:.2f}")
        if math.hypot(*shift) > self.reach_px:
            doubts.append(f"shift is {math.hypot(*shift):.1f} px, expected at most {self.reach_px:.1f}")
        if not isolated:
            doubts.append("the best fit lies where the two frames have too little in common")
        if not left <= LARGEST_STEP:
            doubts.append("the fit leaves the peak of the correlation")
        if not error.max() <= LARGEST_ERROR_PX:
            doubts.append(f"shift is known to {error.max():.2g} px, expected {LARGEST_ERROR_PX:g}")
        return Shift((float(shift[0]), float(shift[1])), (float(error[0]), float(error[1])), best, rival, tuple(doubts))

    def _peak(self, other: FloatArray) -> tuple[tuple[int, int], float, float, bool]:
        """Where the correlation peaks, its height, the best elsewhere over it, and whether all about it is known."""
        fits = correlations(self._band, other)
        row, col = (int(index) for index in np.unravel_index(np.nanargmax(fits), fits.shape))
        best = float(fits[row, col])
        rows, cols = np.ogrid[: fits.shape[0], : fits.shape[1]]
        lobe = (rows - row) ** 2 + (cols - col) ** 2 <= (LOBE * self.detail_px / _stride(self.detail_px)) ** 2
        second = float(np.nanmax(np.where(lobe, np.nan, fits)))
        isolated = bool(np.isfinite(fits[row - 1 : row + 2, col - 1 : col + 2]).all())
        return (row, col), best, second / best if best > 0 else math.inf, isolated


def reference_patch(
    first: Float32Array, second: Float32Array, *, moved_px: tuple[float, float], reach_px: float | None = None
) -> Patch | None:
    """The patch of two scans of one place, one right after the other; None where it looks like another place nearby.

    moved_px  (y, x) how much farther down and right the content of the second is, the scan having been moved up and
              left: what stays with the frame (bent lines, a spot on a detector) is not taken for the specimen

    Compared at the finest detail of DETAILS_PX at which the second is found in the first where it is, and nothing else
    fits more than UNIQUE times as well. The noise of the two is independent, so that it cannot pass for uniqueness.
    raises    TypeError, ValueError for wrong images
    """
    off = OFF_PX + OFF_SHARE * math.hypot(*moved_px)
    for detail in DETAILS_PX:
        if min(first.shape) < SMALLEST * detail:
            break
        found = Patch(first, detail).locate(second)
        still = math.dist(found.yx_px, moved_px) <= off
        if found.believed and still and found.rival <= UNIQUE and max(found.error_px) <= WANTED_ERROR_PX:
            return Patch(first, detail, correlation=min(found.correlation, 1.0), reach_px=reach_px)
    return None


def patch_places(
    survey: Float32Array, side_px: int, *, margin_px: int = 0, detail_px: float = 2.0, count: int = 3
) -> FloatArray:
    """(n, 2) centres (y, x) in pixels of the squares of a survey that are most likely to be told again, n <= count.

    margin_px  from the survey's edge, where none is taken

    Ordered by the smaller eigenvalue of the slopes' second moments, by which a shift is known in its worse direction
    (Shi and Tomasi, CVPR 1994, 593); squares that repeat are left out, and those that overlap a better one.
    raises  TypeError, ValueError for a wrong image or size
    """
    from scipy import ndimage

    check_image(survey)
    largest = min(survey.shape) - 2 * margin_px
    if not (margin_px >= 0 and SMALLEST * detail_px <= side_px <= largest):
        raise ValueError(
            f"side_px is {side_px} and margin_px {margin_px}, expected a side of {SMALLEST * detail_px:g} to {largest} "
            f"px in a survey of {survey.shape[0]} x {survey.shape[1]} pixels"
        )
    values = _whole_band(survey.astype(np.float64), detail_px)
    slopes = [ndimage.sobel(values, axis) / 8 for axis in (0, 1)]
    corners = [np.arange(margin_px, n - margin_px - side_px + 1, max(1, side_px // 4)) for n in survey.shape]
    yy, xx, yx = (_squares(slopes[i] * slopes[j], corners[0], corners[1], side_px) for i, j in ((0, 0), (1, 1), (0, 1)))
    weaker = (yy + xx) / 2 - np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    taken: list[tuple[int, int]] = []
    for flat in np.argsort(-weaker, axis=None, kind="stable")[: 20 * count]:
        row, col = np.unravel_index(flat, weaker.shape)
        corner = (int(corners[0][row]), int(corners[1][col]))
        if any(max(abs(corner[0] - y), abs(corner[1] - x)) < side_px for y, x in taken):
            continue
        square = survey[corner[0] : corner[0] + side_px, corner[1] : corner[1] + side_px]
        if Patch(np.ascontiguousarray(square), detail_px).repetition <= UNIQUE:
            taken.append(corner)
        if len(taken) == count:
            break
    return np.array(taken, dtype=np.float64).reshape(-1, 2) + side_px / 2


def _squares(values: FloatArray, top: IntArray, left: IntArray, side: int) -> FloatArray:
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    table[1:, 1:] = values.cumsum(0).cumsum(1)
    bottom, right = top + side, left + side
    return np.asarray(
        table[np.ix_(bottom, right)]
        - table[np.ix_(top, right)]
        - table[np.ix_(bottom, left)]
        + table[np.ix_(top, left)]
    )


def band(image: Float32Array, detail_px: float) -> FloatArray:
    """Difference of two Gaussians of `detail_px` and WIDE times it, without what the edges have a part in.

    Only every `_stride`-th pixel is kept: the band holds nothing finer.
    """
    edge, stride = math.ceil(EDGE * detail_px), _stride(detail_px)
    whole = _whole_band(image.astype(np.float64), detail_px)
    return np.ascontiguousarray(whole[edge:-edge:stride, edge:-edge:stride])


def _stride(detail_px: float) -> int:
    return max(1, int(detail_px / 1.5))


def _whole_band(values: FloatArray, detail_px: float) -> FloatArray:
    from scipy import ndimage

    narrow, wide = (ndimage.gaussian_filter(values, sigma, truncate=3.0) for sigma in (detail_px, WIDE * detail_px))
    return np.asarray(narrow - wide)


def correlations(reference: FloatArray, other: FloatArray) -> FloatArray:
    """(2 rows - 1, 2 cols - 1) Pearson correlation of what two frames have in common at every shift of `other`.

    The middle is no shift; NaN where less than LEAST_COMMON of the frame is in common.
    """
    from scipy import fft

    rows, cols = reference.shape
    full = (2 * rows - 1, 2 * cols - 1)
    size = tuple(fft.next_fast_len(n, real=True) for n in full)
    a, b = reference - reference.mean(), other - other.mean()
    product = fft.irfft2(fft.rfft2(b, size) * np.conj(fft.rfft2(a, size)), size)
    cross = np.roll(product, (rows - 1, cols - 1), axis=(0, 1))[: full[0], : full[1]]
    common = np.outer(
        rows - np.abs(np.arange(full[0]) - rows + 1), cols - np.abs(np.arange(full[1]) - cols + 1)
    ).astype(np.float64)
    sums_a, squares_a = (overlaps(values)[::-1, ::-1] for values in (a, a * a))
    sums_b, squares_b = (overlaps(values) for values in (b, b * b))
    covariance = cross - sums_a * sums_b / common
    power = (squares_a - sums_a**2 / common) * (squares_b - sums_b**2 / common)
    found = common >= LEAST_COMMON * rows * cols
    quiet = power <= 1e-24 * max(float((a * a).sum() * (b * b).sum()), 1e-300)
    safe = np.where(quiet, 1.0, power)
    return np.asarray(np.where(found, np.where(quiet, 0.0, covariance / np.sqrt(np.maximum(safe, 1e-300))), np.nan))


def overlaps(values: FloatArray) -> FloatArray:
    """(2 rows - 1, 2 cols - 1) sum of `values` over what it shares with a frame shifted by -(rows - 1) .. rows - 1."""
    rows, cols = values.shape
    table = np.zeros((rows + 1, cols + 1))
    table[1:, 1:] = values.cumsum(0).cumsum(1)
    low_y, high_y = _span(rows)
    low_x, high_x = _span(cols)
    return np.asarray(
        table[np.ix_(high_y, high_x)]
        - table[np.ix_(low_y, high_x)]
        - table[np.ix_(high_y, low_x)]
        + table[np.ix_(low_y, low_x)]
    )


def _span(length: int) -> tuple[np.ndarray, np.ndarray]:
    """First and end index that a frame shares with one shifted by each of -(length - 1) .. length - 1."""
    shift = np.arange(-(length - 1), length)
    return np.maximum(shift, 0), np.minimum(shift + length, length)


def refine(
    reference: FloatArray, other: FloatArray, coarse: tuple[int, int], detail_px: float
) -> tuple[FloatArray, FloatArray]:
    """Shift (y, x) of least squares over the common part, gain and offset free, and its standard deviations.

    Gauss-Newton with the slopes of both frames. Noise was white before the band: what the band did to it is passed
    through the fit.
    """
    from scipy import ndimage

    margin = 2  # of the slopes
    rows, cols = reference.shape
    low = [max(0, -c) + margin for c in coarse]
    high = [min(n, n - c) - margin for n, c in zip((rows, cols), coarse, strict=True)]
    here = (slice(low[0], high[0]), slice(low[1], high[1]))
    a = reference[here]
    if min(a.shape) < 4:
        return np.array(coarse, dtype=np.float64), np.full(2, math.inf)
    smooth = ndimage.spline_filter(other, order=3)
    grid = np.mgrid[here].astype(np.float64)
    slopes_a = np.stack([ndimage.sobel(reference, axis)[here] / 8 for axis in (0, 1)])
    shift = np.array(coarse, dtype=np.float64)
    best = (math.inf, shift, slopes_a, a)
    for _ in range(FIT_STEPS):
        b = ndimage.map_coordinates(smooth, grid + shift[:, None, None], order=3, prefilter=False, mode="nearest")
        b, gain = _scaled(b, a)
        slopes = (slopes_a + gain * _slopes(smooth, grid, shift)) / 2
        slopes -= slopes.mean(axis=(1, 2), keepdims=True)
        residual = a - a.mean() - b
        best = (float((residual**2).sum()), shift.copy(), slopes, residual)
        normal = np.einsum("irc,jrc->ij", slopes, slopes)
        if not np.linalg.cond(normal) < 1e12:
            return shift, np.full(2, math.inf)
        step = np.linalg.solve(normal, np.einsum("irc,rc->i", slopes, residual))
        shift = shift + np.clip(step, -1.0, 1.0)
        if float(np.abs(step).max()) < 1e-5:
            break
    _, _, slopes, residual = best
    inverse = np.linalg.inv(np.einsum("irc,jrc->ij", slopes, slopes))
    banded = np.stack([_whole_band(slope, detail_px) for slope in slopes])
    variance = float(residual.var()) / _power_of_band(detail_px)
    covariance = inverse @ (variance * np.einsum("irc,jrc->ij", banded, banded)) @ inverse
    return shift, np.sqrt(np.maximum(np.diag(covariance), 0.0))


def _scaled(values: FloatArray, like: FloatArray) -> tuple[FloatArray, float]:
    """`values` with gain and offset that bring them to `like` without its mean."""
    centred = values - values.mean()
    power = float((centred**2).sum())
    gain = float((centred * (like - like.mean())).sum()) / power if power > 0 else 0.0
    return np.asarray(centred * gain), gain


def _slopes(smooth: FloatArray, grid: FloatArray, shift: FloatArray) -> FloatArray:
    from scipy import ndimage

    at = grid + shift[:, None, None]
    slopes = []
    for axis in (0, 1):
        step = np.zeros((2, 1, 1))
        step[axis] = 0.5
        ahead, behind = (
            ndimage.map_coordinates(smooth, at + sign * step, order=3, prefilter=False, mode="nearest")
            for sign in (1, -1)
        )
        slopes.append(ahead - behind)
    return np.stack(slopes)


def _power_of_band(detail_px: float) -> float:
    """Variance that white noise of variance 1 has in the band: the integral of the squared kernel."""
    s, w = detail_px**2, (WIDE * detail_px) ** 2
    return (1 / (4 * s) + 1 / (4 * w) - 1 / (s + w)) / math.pi
