# SPDX-License-Identifier: BSD-3-Clause
"""A Gaussian process as the textbook writes it: one dense solve, nothing incremental."""

import numpy as np


def kernel(name, a, b, lengthscale, alpha=1.0):
    """Covariance of unit variance between points (n, d) and (m, d)."""
    offset = (a[:, None, :] - b[None, :, :]) / lengthscale
    if name.startswith("product-"):
        return np.prod([_matern(name[-2:], np.abs(offset[..., k])) for k in range(offset.shape[-1])], axis=0)
    squared = (offset**2).sum(axis=-1)
    if name == "rbf":
        return np.exp(-squared / 2)
    if name == "rq":
        return (1 + squared / (2 * alpha)) ** -alpha
    return _matern(name[-2:], np.sqrt(squared))


def _matern(order, r):
    if order == "12":
        return np.exp(-r)
    if order == "32":
        return (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r)
    return (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)


def posterior(name, points, told, values, *, lengthscale, variance, noise, mean=0.0, alpha=1.0):
    """Mean, deviation of the latent function at all points, and the log marginal likelihood.

    noise  one variance for all told values, or one each
    """
    covariance = variance * kernel(name, points[told], points[told], lengthscale, alpha)
    covariance += np.diag(np.broadcast_to(noise, len(told)))
    across = variance * kernel(name, points[told], points, lengthscale, alpha)
    solved = np.linalg.solve(covariance, across)
    residual = values - mean
    explained = (across * solved).sum(axis=0)
    _, log_determinant = np.linalg.slogdet(covariance)
    misfit = residual @ np.linalg.solve(covariance, residual)
    likelihood = -0.5 * misfit - 0.5 * log_determinant - 0.5 * len(told) * np.log(2 * np.pi)
    return mean + solved.T @ residual, np.sqrt(np.maximum(variance - explained, 0)), likelihood
