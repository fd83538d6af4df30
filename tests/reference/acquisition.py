# SPDX-License-Identifier: BSD-3-Clause
"""Acquisition functions in plain terms of scipy.stats, right where nothing underflows."""

import numpy as np
from scipy.stats import norm


def expected_improvement(mean, std, best, xi=0.0):
    gain = mean - best - xi
    return gain * norm.cdf(gain / std) + std * norm.pdf(gain / std)


def probability_of_improvement(mean, std, best, xi=0.0):
    return norm.cdf((mean - best - xi) / std)


def target_probability(mean, std, low, high):
    return norm.cdf((high - mean) / std) - norm.cdf((low - mean) / std)


def otsu(values):
    """Between-class variance of every split, one after another."""
    ordered = np.sort(values)
    best, threshold = -1.0, ordered[0]
    for split in range(1, len(ordered)):
        low, high = ordered[:split], ordered[split:]
        between = len(low) * len(high) * (high.mean() - low.mean()) ** 2
        if ordered[split] > ordered[split - 1] and between > best * (1 + 1e-12):
            best, threshold = between, (ordered[split - 1] + ordered[split]) / 2
    return threshold
