# SPDX-License-Identifier: BSD-3-Clause
"""Linear unmixing: a basis fitted off line, compiled transforms for new spectra on line."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, Self, cast

import numpy as np

from probewise._core import descriptors as _core
from probewise.descriptors.arrays import check_float32
from probewise.descriptors.nfindr import largest_simplex
from probewise.shown import Shown
from probewise.types import Float32Array, FloatArray, IntArray

Method = Literal["nmf", "pca", "svd", "nfindr"]
METHODS: tuple[Method, ...] = ("nmf", "pca", "svd", "nfindr")

# Rows given to a fit; more are thinned evenly. 60 frames of 25 windows stay whole, and a fit stays near a second.
_MOST_ROWS = 1500
_SPARSE_BELOW = 0.2


class Unmixing(Shown):
    """Spectra as combinations of a few components.

    method      "nmf": non-negative factors (Frobenius, coordinate descent, nndsvda start); on line non-negative least
                squares with the basis fixed. "pca": principal components of the centred spectra. "svd": the same
                uncentred (the study). "nfindr": end-members by N-FINDR; on line abundances that are not negative and
                sum to one
    components  how many, at least 1 (2 for "nfindr"), at most 64
    seed        of the random part of the NMF start

    A fit and a transform give the same bits when repeated, and a spectrum the same value alone and in a batch.
    basis      (k, f) float64, rows of unit length except for "nfindr", where they are spectra
    mean       (f,) float64, subtracted first; zero except for "pca"
    explained  (k,) float64, variance of a component's values times the squared length of its row over the variance of
               the spectra; of components that are not orthogonal the shares do not add to one
    notices    what the last fit had to say
    """

    def __init__(self, method: Method = "nmf", components: int = 4, *, seed: int = 0) -> None:
        if method not in METHODS:
            raise ValueError(f"method is {method!r}, expected one of {METHODS}")
        least = 2 if method == "nfindr" else 1
        if not least <= components <= 64:
            raise ValueError(f"components is {components}, expected {least} to 64 for {method}")
        self.method: Method = method
        self.components = components
        self.seed = seed
        self.basis: FloatArray = np.empty((0, 0))
        self.mean: FloatArray = np.empty(0)
        self.explained: FloatArray = np.empty(0)
        self.notices: tuple[str, ...] = ()

    def _facts(self) -> dict[str, Any]:
        fit = f"{self.basis.shape[1]} features" if self.fitted else "not yet"
        return {"method": self.method, "components": self.components, "fitted": fit}

    @property
    def fitted(self) -> bool:
        return self.basis.size > 0

    def fit(self, spectra: Float32Array) -> Self:
        """Find the basis of `spectra` (n, f) float32, finite, n at least `components`; ValueError otherwise."""
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        # One thread: the products are small, waiting threads cost more than they give, and the bits stay the same.
        with threadpool_limits(limits=1):
            return self._fit(_check(spectra, None))

    def _fit(self, rows: Float32Array) -> Self:
        if len(rows) < self.components:
            raise ValueError(f"spectra holds {len(rows)} rows, expected at least components = {self.components}")
        self.notices = ()
        if len(rows) > _MOST_ROWS:
            self.notices = (f"basis fitted to {_MOST_ROWS} of {len(rows)} spectra, taken evenly",)
            rows = rows[np.linspace(0, len(rows) - 1, _MOST_ROWS).round().astype(np.int64)]
        if self.method == "nmf" and float(rows.min()) < 0:
            raise ValueError(f"spectra has minimum {float(rows.min())}, expected no negative value for nmf")
        mean = rows.mean(axis=0, dtype=np.float64)
        if self.method == "nmf":
            basis = self._fit_nmf(rows)
        elif self.method == "nfindr":
            directions = _principal(rows.astype(np.float64) - mean, self.components - 1)
            vertices = largest_simplex((rows.astype(np.float64) - mean) @ directions.T)
            basis = rows[vertices].astype(np.float64)
        else:
            centred = rows.astype(np.float64)
            if self.method == "pca":
                centred -= mean
            basis = _principal(centred, self.components)
        self._take(basis, mean if self.method == "pca" else np.zeros_like(mean))
        values = self.transform(np.ascontiguousarray(rows))
        lengths = self.basis - (self.basis.mean(axis=0) if self.method == "nfindr" else 0.0)
        total = float(rows.var(axis=0, dtype=np.float64).sum())
        spread = values.var(axis=0) * np.einsum("kf,kf->k", lengths, lengths)
        self.explained = spread / total if total > 0 else np.zeros_like(spread)
        return self

    def transform(self, spectra: Float32Array) -> FloatArray:
        """Values of each component, (n, k) float64; ValueError before a fit or for another number of features."""
        return self._solve(self._project(spectra)[0])

    def residual(self, spectra: Float32Array) -> FloatArray:
        """Length of what the components leave over, as a fraction of the spectrum's length, (n,) float64.

        0 for a spectrum of zeros.
        """
        return self.transform_with_residual(spectra)[1]

    def transform_with_residual(self, spectra: Float32Array) -> tuple[FloatArray, FloatArray]:
        """`transform` and `residual` with one pass over the spectra."""
        products, with_mean, squares = self._project(spectra)
        values = self._solve(products)
        centred = squares - 2 * with_mean + self._mean_square
        fitted = np.einsum("nk,kl,nl->n", values, self._gram, values)
        left = np.maximum(centred - 2 * np.einsum("nk,nk->n", values, products) + fitted, 0.0)
        return values, np.sqrt(np.divide(left, squares, out=np.zeros_like(left), where=squares > 0))

    def reorder(self, order: IntArray, signs: FloatArray) -> None:
        """Put component `order[i]` times `signs[i]` (+1 or -1) at place i."""
        self.explained = self.explained[order]
        self._take(self.basis[order] * signs[:, None], self.mean)

    def state(self) -> dict[str, np.ndarray[Any, Any] | str | int | float]:
        """All that `restore` needs for the same values to the bit."""
        return {
            "method": self.method,
            "components": self.components,
            "seed": self.seed,
            "basis": self.basis.copy(),
            "mean": self.mean.copy(),
            "explained": self.explained.copy(),
        }

    @classmethod
    def restore(cls, state: dict[str, np.ndarray[Any, Any] | str | int | float]) -> Unmixing:
        """The unmixing that gave `state`."""
        unmixing = cls(
            cast(Method, str(state["method"])), int(cast(int, state["components"])), seed=int(cast(int, state["seed"]))
        )
        unmixing.explained = np.array(state["explained"], dtype=np.float64)
        unmixing._take(np.array(state["basis"], dtype=np.float64), np.array(state["mean"], dtype=np.float64))
        return unmixing

    def _take(self, basis: FloatArray, mean: FloatArray) -> None:
        self.basis, self.mean = np.ascontiguousarray(basis), mean
        # Rows and mean in one product, so that a new spectrum is read once.
        self._directions = np.ascontiguousarray(np.vstack([self.basis, self.mean[None]]))
        self._gram = np.ascontiguousarray(self.basis @ self.basis.T)
        self._mean_products = self.basis @ self.mean
        self._mean_square = float(self.mean @ self.mean)

    def _project(self, spectra: Float32Array) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Products of the centred spectra with the basis, of the spectra with the mean, and squared lengths."""
        if not self.fitted:
            raise ValueError("the unmixing has no basis yet, expected fit() first")
        _check(spectra, self.basis.shape[1])
        products = np.empty((len(spectra), len(self._directions)))
        squares = np.empty(len(spectra))
        _core.project(spectra, self._directions, products, squares)
        return np.ascontiguousarray(products[:, :-1] - self._mean_products), products[:, -1], squares

    def _solve(self, products: FloatArray) -> FloatArray:
        if self.method in ("pca", "svd"):
            return products
        values = np.empty_like(products)
        constraint = "non-negative" if self.method == "nmf" else "fully-constrained"
        _core.solve_abundances(self._gram, products, constraint, values)
        return values

    def _fit_nmf(self, rows: Float32Array) -> FloatArray:
        from scipy.sparse import csr_matrix
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning

        model = NMF(self.components, init="nndsvda", solver="cd", tol=1e-4, max_iter=300, random_state=self.seed)
        # Spectra cut at their noise floor are nearly empty; a sparse matrix then makes a fit several times quicker.
        table = csr_matrix(rows) if np.count_nonzero(rows) < _SPARSE_BELOW * rows.size else rows
        # The error of an exact fit, a difference of large numbers, may come out below zero before its root is taken.
        with warnings.catch_warnings(record=True) as caught, np.errstate(invalid="ignore"):
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(table)
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            self.notices += (f"nmf stopped after {model.n_iter_} iterations before it converged to 1e-4",)
        basis = model.components_.astype(np.float64)
        length = np.sqrt(np.einsum("kf,kf->k", basis, basis))
        alive = length > 0
        if not alive.all():
            if not alive.any():
                raise ValueError("spectra is all zero, expected at least one spectrum with structure")
            self.notices += (f"{int((~alive).sum())} of {self.components} components are empty and were dropped",)
        return np.asarray(basis[alive] / length[alive, None])


def _principal(rows: FloatArray, components: int) -> FloatArray:
    """The leading right singular vectors of `rows` (n, f), (components, f); the largest entry of each is positive.

    They come from the smaller of the two Gram matrices, which is quicker than a full decomposition; the leading
    vectors lose nothing that float32 spectra had.
    """
    from scipy.linalg import eigh

    n, f = rows.shape
    size = min(n, f)
    if components > size:
        raise ValueError(f"spectra is {n} x {f}, expected at least {components} rows and features")
    gram = rows @ rows.T if n <= f else rows.T @ rows
    strength, vectors = eigh(gram, subset_by_index=(size - components, size - 1))
    strength, vectors = strength[::-1], vectors[:, ::-1]
    if strength[-1] <= size * np.finfo(np.float64).eps * max(strength[0], math.ulp(0.0)):
        raise ValueError(f"spectra vary in fewer than {components} independent ways, expected fewer components")
    directions = (rows.T @ vectors / np.sqrt(strength)).T if n <= f else vectors.T
    peak = np.argmax(np.abs(directions), axis=1)
    signs = np.sign(directions[np.arange(components), peak])
    return np.ascontiguousarray(directions * signs[:, None])


def _check(spectra: Float32Array, features: int | None) -> Float32Array:
    check_float32("spectra", spectra, "(n, features)")
    if features is not None and spectra.shape[1] != features:
        raise ValueError(f"spectra has shape {spectra.shape}, expected (n, {features}) as in the fit")
    if not np.isfinite(spectra).all():
        raise ValueError("spectra holds a non-finite value, expected finite magnitudes")
    return spectra
