# SPDX-License-Identifier: BSD-3-Clause
"""The robust bulk of a cloud, against what it was made from and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import MinCovDet

from probewise.descriptors.outliers import bulk_of


def cloud(seed, n=800, k=3, share=0.1):
    """A normal cloud with `share` of its points in a clump far away: points, and which are in the clump."""
    random = np.random.default_rng(seed)
    points = random.normal(size=(n, k)) @ random.normal(size=(k, k)) + random.normal(size=k)
    far = random.permutation(n) < share * n
    points[far] += 12 * np.sqrt(points.var(axis=0).sum())
    return points, far


@given(seed=st.integers(0, 1000), k=st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_a_clump_is_found_and_the_rest_is_not(seed, k):
    points, far = cloud(seed, k=k)
    bulk = bulk_of(points)
    outside = bulk.distance(points) > bulk.limit
    assert outside[far].all()
    # The limit leaves out one normal point in 10,000; estimated on 720 points it may be a few.
    assert outside[~far].sum() <= 8


def test_like_minimum_covariance_determinant():
    points, _ = cloud(3)
    theirs = MinCovDet(random_state=0).fit(points)
    ours = bulk_of(points)
    # Mahalanobis distance between the centres, in standard errors of 800 points about 1.
    assert ours.distance(theirs.location_[None])[0] < 3 / np.sqrt(800) * np.sqrt(3)
    ratio = ours.distance(points) / np.sqrt(theirs.mahalanobis(points))
    assert abs(np.median(ratio) - 1) < 0.1


def test_distance_is_that_of_a_normal_cloud():
    points = np.random.default_rng(0).normal(size=(20_000, 2))
    squared = bulk_of(points).distance(points) ** 2
    assert np.isclose(np.quantile(squared, 0.9), 4.605, rtol=0.05)  # chi-squared, 2 degrees of freedom


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_units_do_not_matter(seed):
    points, _ = cloud(seed)
    scale, shift = np.array([0.1, 1.0, 7.0]), np.array([3.0, -1.0, 0.0])
    assert np.allclose(
        bulk_of(points).distance(points), bulk_of(points * scale + shift).distance(points * scale + shift), rtol=1e-3
    )


def test_a_constant_variable_does_not_break_it():
    points, far = cloud(1)
    points[:, 2] = 0.5
    bulk = bulk_of(points)
    assert np.isfinite(bulk.distance(points)).all()
    assert (bulk.distance(points)[far] > bulk.limit).all()


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="4 patches were seen, expected at least 5"):
        bulk_of(np.zeros((4, 3)))
