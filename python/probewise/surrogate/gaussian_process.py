# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from probewise._core.surrogate import Engine
from probewise.device import choose_device, cuda_module, parse_device
from probewise.shown import Shown, axes_or_new
from probewise.surrogate.device_engine import DeviceEngine
from probewise.surrogate.fit import FitResult, fit_hyperparameters, length_unit
from probewise.types import FloatArray, IntArray, Lattice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_KEY = 2**64


class GaussianProcess(Shown):
    """Exact Gaussian process over a fixed set of candidates; a thin handle on the compiled engine.

    candidates   Lattice, or (c, d) float64 coordinates
    kernel       rbf matern12 matern32 matern52 rq, or product-matern12/32/52 (products over the axes)
    lengthscale  float or (d,), in the unit of the coordinates
    variance     sigma_f^2, in squared units of the values
    noise        sigma_n^2, in squared units of the values, may be 0
    mean         prior mean, a constant
    alpha        shape of the rq kernel (large: tends to rbf); the others ignore it
    precision    "float64", or "float32" for V, products and maps; "float16" stores V so and does the rest in float32,
                 only where V is stored: with noise / variance of 1e-2 and above mean and std are then within 3e-2 and
                 1e-2 of amplitude plus largest value. Factor and solves are always float64
    device       "cpu"; "cuda" or "cuda:N" keeps the maps on a device (factor and solves stay with the host); "auto" is
                 the CPU: from how many candidates a device pays has not been measured
    raises       ValueError or TypeError naming the argument, ConfigurationError for a device that is not there

    On a device `mean` and `std` are copies, current when read, and `sample` is refused. When the device is lost the
    call is repeated on the CPU with all that was told; `notices` says so.

    A lattice with rbf or a product kernel takes the separable plan: O(n^2) memory, V is never stored. All others
    keep V, (n, c). From 131,072 candidates on the separable plan is lazy: a choice looks only at the tiles of the
    lattice that can hold the best candidate, the others take told values later, and `mean` and `std` bring all up to
    date and are then copies. A second value at a told candidate is a replicate: a further row of the same covariance.
    Values are never standardised here.
    """

    def __init__(
        self,
        candidates: Lattice | FloatArray,
        *,
        kernel: str = "matern52",
        lengthscale: float | npt.ArrayLike,
        variance: float = 1.0,
        noise: float = 1e-2,
        mean: float = 0.0,
        alpha: float = 1.0,
        precision: Literal["float64", "float32", "float16"] = "float64",
        device: str = "cpu",
    ) -> None:
        if precision not in ("float64", "float32", "float16"):
            raise ValueError(f"precision is {precision!r}, expected 'float64', 'float32' or 'float16'")
        taken = choose_device("cpu" if parse_device(device) == "auto" else device)
        if isinstance(candidates, Lattice):
            axes = 2
        else:
            if not isinstance(candidates, np.ndarray):
                raise TypeError(f"candidates is a {type(candidates).__name__}, expected a Lattice or a (c, d) array")
            candidates = np.array(_float_array("candidates", candidates, 2))
            candidates.flags.writeable = False
            axes = candidates.shape[1]
        self._isotropic = np.ndim(lengthscale) == 0
        scales = _lengthscales(lengthscale, axes)
        numbers = (_number("variance", variance), _number("noise", noise), _number("mean", mean))
        shape = _number("alpha", alpha)

        def make(engine: Any, *where: int) -> Any:
            settings = (kernel, scales, *numbers, shape, precision, *where)
            if isinstance(candidates, Lattice):
                return engine.lattice(*candidates.shape, *candidates.spacing, *settings)
            return engine.points(candidates, *settings)

        self._engine: Engine | DeviceEngine = (
            make(Engine)
            if taken.number is None
            else DeviceEngine(make(cuda_module().Surrogate, taken.number, 0), lambda: make(Engine))
        )
        self._candidates = candidates
        self._kernel = kernel
        self._mean_constant = numbers[2]
        self._alpha = shape
        self._fitted = False
        self._length_unit: float | None = None
        self._keep_views()

    def tell(
        self,
        index: int | npt.NDArray[np.integer[Any]],
        value: float | npt.NDArray[np.floating[Any]],
        *,
        noise: float | npt.NDArray[np.floating[Any]] = 0.0,
    ) -> None:
        """Add one value, or (n,) values at (n,) candidates; the maps are current on return.

        noise   variance of each value's own error, beyond the `noise` that all values have; squared units of them
        raises  ValueError (out of range, not finite, lengths differ), TypeError (not integers, not numbers),
                NotPositiveDefinite; then nothing was added
        """
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            self._engine.tell_one(_index(index), _number("value", value), _number("noise", noise))
            return
        where = np.asarray(index)
        if where.dtype.kind not in "iu":
            raise TypeError(f"index is {_what(index)}, expected an integer or an array of integers")
        if where.ndim != 1:
            raise ValueError(f"index is {_what(index)}, expected an integer or shape (n,)")
        what = np.asarray(value)
        if what.dtype.kind not in "fiu":
            raise TypeError(f"value is {_what(value)}, expected a number or an array of numbers")
        if what.shape != where.shape:
            raise ValueError(f"value is {_what(value)}, expected shape {where.shape}, one value for each index")
        error = np.broadcast_to(_number("noise", noise), where.shape) if np.ndim(noise) == 0 else np.asarray(noise)
        if error.dtype.kind not in "fiu":
            raise TypeError(f"noise is {_what(noise)}, expected a number or an array of numbers")
        if error.shape != where.shape:
            raise ValueError(f"noise is {_what(noise)}, expected one number or shape {where.shape}")
        if where.dtype.kind == "u" and where.size and int(where.max()) >= self._engine.size:
            raise ValueError(f"index is {int(where.max())}, expected 0 to {self._engine.size - 1}")
        self._engine.tell_many(
            np.ascontiguousarray(where, dtype=np.int64),
            np.ascontiguousarray(what, dtype=np.float64),
            np.ascontiguousarray(error, dtype=np.float64),
        )

    @property
    def mean(self) -> FloatArray:
        """Posterior mean (c,), a read-only view that `tell` updates; float32 when `precision` is.

        On the lazy plan a copy of the mean as it is now.
        """
        return self._engine.mean if self._map_mean is None else self._map_mean

    @property
    def std(self) -> FloatArray:
        """Posterior standard deviation (c,) of the latent function, without noise; a view or copy like `mean`."""
        return self._engine.std if self._map_std is None else self._map_std

    def set_values(self, values: FloatArray) -> None:
        """Replace all told values (n,), in the order told, and keep the factor and the noise of each."""
        self._engine.set_values(_float_array("values", values, 1))

    def reset(self) -> None:
        """Forget all told values; hyperparameters stay."""
        self._engine.reset()

    def set_hyperparameters(self, lengthscale: float | npt.ArrayLike, variance: float, noise: float) -> None:
        """Rebuild factor and maps under given hyperparameters, bit for bit as `fit` leaves them for the same ones."""
        scales = _lengthscales(lengthscale, len(self._engine.lengthscale))
        self._engine.set_hyperparameters(scales, _number("variance", variance), _number("noise", noise))
        self._isotropic = np.ndim(lengthscale) == 0
        self._fitted = True

    def log_marginal_likelihood(self) -> float:
        """Of the told values under the present hyperparameters, normalisation included."""
        return self._engine.log_marginal_likelihood()

    def level(self) -> float:
        """Generalised-least-squares estimate of the constant mean, in units of the values; O(n^2).

        Unlike the plain average it is not pulled up by the clusters that a policy leaves where values are high, and
        so it is the better offset to standardise by. ValueError when nothing is told.
        """
        return self._engine.level()

    def fit(self) -> FitResult:
        """Move lengthscale, variance and noise to their maximum a posteriori, and rebuild.

        Bounds and priors are relative to the lattice spacing (or the median distance to the nearest neighbour) and
        to the variance of the told values; noise that came with a value stays. The second fit on starts from the
        present hyperparameters as well. With fewer than three distinct candidates told, or constant values, nothing
        moves and `stable` is False.
        """
        result = fit_hyperparameters(
            points=self._told_points(),
            values=self.values,
            own_noise=self._engine.noises,
            mean=self._mean_constant,
            kernel=self._kernel,
            alpha=self._alpha,
            unit=self._unit(),
            extent=self._extent(),
            present=(np.array(self._engine.lengthscale), self.variance, self.noise),
            isotropic=self._isotropic,
            warm=self._fitted,
        )
        if result.evaluations > 0:
            self.set_hyperparameters(result.lengthscale, result.variance, result.noise)
        return result

    def sample(self, key: tuple[int, int]) -> FloatArray:
        """One joint draw of the latent function at all candidates, (c,), the same for the same key (seed, step).

        A draw of the prior, corrected by Matheron's rule. The prior is drawn exactly on a lattice with a separable
        kernel and for up to 1024 candidates, otherwise from 1024 random Fourier features (see `exact_samples`).
        """
        return self._engine.sample(_key(key))

    def believe(self, index: int) -> GaussianProcess:
        """A copy that was told its own posterior mean at `index` (Kriging believer)."""
        where = _index(index)
        if not 0 <= where < self._engine.size:
            raise ValueError(f"index is {where}, expected 0 to {self._engine.size - 1}")
        copy = GaussianProcess.__new__(GaussianProcess)
        copy.__dict__.update(self.__dict__)
        copy._engine = self._engine.copy()
        copy._keep_views()
        copy._engine.tell_one(where, self._engine.mean_at(where), 0.0)
        return copy

    def bound(self, tile: slice) -> tuple[float, float]:
        """The largest mean and the largest deviation over a run of candidates."""
        mean = self.mean[tile]
        if mean.size == 0:
            raise ValueError(f"tile is {tile}, expected at least one of {self._engine.size} candidates")
        return float(mean.max()), float(self.std[tile].max())

    @property
    def candidates(self) -> Lattice | FloatArray:
        return self._candidates

    @property
    def indices(self) -> IntArray:
        """Candidates told, (n,), in order, replicates included."""
        return self._engine.indices

    @property
    def values(self) -> FloatArray:
        """Values told, (n,), in order."""
        return self._engine.values

    @property
    def kernel(self) -> str:
        return self._kernel

    @property
    def lengthscale(self) -> float | FloatArray:
        scales = self._engine.lengthscale
        return scales[0] if self._isotropic else np.array(scales)

    @property
    def variance(self) -> float:
        return self._engine.variance

    @property
    def noise(self) -> float:
        return self._engine.noise

    @property
    def mean_constant(self) -> float:
        return self._mean_constant

    @property
    def plan(self) -> Literal["separable", "cached", "lazy"]:
        return self._engine.plan

    @property
    def device(self) -> str:
        """Where the maps are now: "cpu" or "cuda"."""
        return "cuda" if isinstance(self._engine, DeviceEngine) and self._engine.on_device else "cpu"

    @property
    def notices(self) -> tuple[str, ...]:
        """What became of a device that was lost."""
        return self._engine.notices if isinstance(self._engine, DeviceEngine) else ()

    @property
    def jitter(self) -> float:
        """Largest jitter that a near-duplicate needed on top of the noise, relative to the variance; 0 for none."""
        return self._engine.jitter

    @property
    def exact_samples(self) -> bool:
        """False when `sample` draws the prior from random Fourier features."""
        return isinstance(self._engine, Engine) and self._engine.exact_samples

    @property
    def engine(self) -> Engine | DeviceEngine:
        """What owns the step; `choose` takes its fused path through it."""
        return self._engine

    def plot(self, which: Literal["mean", "std"] = "mean", *, axes: Axes | None = None) -> Axes:
        """Draw a map over a lattice, or over points of two axes, with the told candidates as dots; returns the axes."""
        if which not in ("mean", "std"):
            raise ValueError(f"which is {which!r}, expected 'mean' or 'std'")
        points = self._points()
        if points.shape[1] != 2:
            raise ValueError(f"candidates have {points.shape[1]} axes, expected 2 to draw a map")
        axes = axes_or_new(axes)
        values = self.mean if which == "mean" else self.std
        if isinstance(self._candidates, Lattice):
            (rows, cols), (dy, dx) = self._candidates.shape, self._candidates.spacing
            extent = (-dx / 2, (cols - 0.5) * dx, (rows - 0.5) * dy, -dy / 2)
            axes.imshow(values.reshape(rows, cols), extent=extent)
        else:
            axes.scatter(points[:, 1], points[:, 0], c=values)
            axes.set_aspect("equal")
            axes.invert_yaxis()
        told = points[self.indices]
        axes.plot(told[:, 1], told[:, 0], ".", color="black", markersize=3)
        axes.set(title=f"posterior {which}")
        return axes

    def _keep_views(self) -> None:
        """Views are taken once; maps on a device, and those of the lazy plan, are copied when they are read."""
        views = isinstance(self._engine, Engine) and self._engine.plan != "lazy"
        self._map_mean = self._engine.mean if views else None
        self._map_std = self._engine.std if views else None

    def _facts(self) -> dict[str, Any]:
        shape = self._candidates.shape
        return {
            "kernel": self._kernel,
            "candidates": f"{shape[0]} x {shape[1]}" if isinstance(self._candidates, Lattice) else shape[0],
            "lengthscale": np.array2string(np.asarray(self.lengthscale), precision=4),
            "variance": f"{self.variance:.4g}",
            "noise": f"{self.noise:.4g}",
            "told": self._engine.told,
            "plan": self.plan,
        }

    def _points(self) -> FloatArray:
        return self._candidates.points() if isinstance(self._candidates, Lattice) else self._candidates

    def _told_points(self) -> FloatArray:
        if not isinstance(self._candidates, Lattice):
            return np.ascontiguousarray(self._candidates[self.indices])
        rows_cols = np.stack(np.divmod(self.indices, self._candidates.shape[1]), axis=1)
        return np.asarray(rows_cols * np.asarray(self._candidates.spacing), dtype=np.float64)

    def _unit(self) -> float:
        if self._length_unit is None:
            self._length_unit = length_unit(self._candidates)
        return self._length_unit

    def _extent(self) -> float:
        if isinstance(self._candidates, Lattice):
            lattice = self._candidates
            return max((lattice.shape[0] - 1) * lattice.spacing[0], (lattice.shape[1] - 1) * lattice.spacing[1])
        return float((self._candidates.max(axis=0) - self._candidates.min(axis=0)).max())


def _what(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    return f"{value!r} ({type(value).__name__})"


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {_what(value)}, expected a number")
    return float(value)


def _index(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"index is {_what(value)}, expected an integer")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"index is {number}, expected a candidate")
    return number


def _float_array(name: str, value: object, rank: int) -> FloatArray:
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
        raise TypeError(f"{name} is {_what(value)}, expected a float64 array of rank {rank}")
    if value.ndim != rank:
        raise ValueError(f"{name} is {_what(value)}, expected rank {rank}")
    return np.ascontiguousarray(value)


def _lengthscales(value: object, axes: int) -> FloatArray:
    scales = np.asarray(value)
    if scales.dtype.kind not in "fiu":
        raise TypeError(f"lengthscale is {_what(value)}, expected a number or {axes} numbers")
    if scales.ndim == 0:
        return np.full(axes, float(scales))
    if scales.shape != (axes,):
        raise ValueError(f"lengthscale has shape {scales.shape}, expected one number or shape ({axes},)")
    return np.ascontiguousarray(scales, dtype=np.float64)


def _key(key: tuple[int, int]) -> tuple[int, int]:
    seed, stream = key
    if not (0 <= seed < _MAX_KEY and 0 <= stream < _MAX_KEY):
        raise ValueError(f"key is {key}, expected two integers from 0 to 2^64 - 1")
    return int(seed), int(stream)
