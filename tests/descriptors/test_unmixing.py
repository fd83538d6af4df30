# SPDX-License-Identifier: BSD-3-Clause
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.decomposition import NMF, PCA

import probewise as pw


def mixtures(n=120, f=40, k=3, noise=0.0, seed=0):
    """Spectra as mixtures of k sparse positive ones; the first k rows are pure."""
    rng = np.random.default_rng(seed)
    pure = rng.gamma(0.5, size=(k, f)) * 10 + 0.01
    shares = rng.dirichlet(np.full(k, 0.7), size=n)
    shares[:k] = np.eye(k)
    spectra = shares @ pure + noise * np.abs(rng.standard_normal((n, f)))
    return np.ascontiguousarray(spectra, dtype=np.float32), pure, shares


def simplex_oracle(basis, spectrum):
    """min |x - Ea| over a >= 0, sum a = 1, by trying every support: exact for a handful of components."""
    k = len(basis)
    best, best_error = None, np.inf
    for size in range(1, k + 1):
        for support in itertools.combinations(range(k), size):
            e = basis[list(support)]
            system = np.block([[e @ e.T, np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
            a = np.linalg.solve(system, np.append(e @ spectrum, 1.0))[:-1]
            error = np.sum((spectrum - a @ e) ** 2)
            if (a >= -1e-12).all() and error < best_error:
                best, best_error = np.zeros(k), error
                best[list(support)] = a
    return best


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 7), outside=st.booleans())
def test_non_negative_transform_matches_scipy(seed, k, outside):
    rng = np.random.default_rng(seed)
    unmixing = pw.Unmixing("nmf", k)
    unmixing._take(rng.gamma(0.7, size=(k, 30)), np.zeros(30))
    weights = rng.normal(size=(5, k)) if outside else rng.gamma(1.0, size=(5, k))
    spectra = (weights @ unmixing.basis).astype(np.float32)
    expected = np.array([nnls(unmixing.basis.T, row.astype(float))[0] for row in spectra])
    # both solve to rounding; the normal equations square the condition number of the basis
    limit = 1e-13 * np.linalg.cond(unmixing.basis) ** 2 * max(1.0, np.abs(weights).max())
    assert np.allclose(unmixing.transform(spectra), expected, rtol=0, atol=max(limit, 1e-9))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 5), spread=st.sampled_from([0.0, 1.0, 20.0]))
def test_fully_constrained_abundances_match_the_oracle(seed, k, spread):
    rng = np.random.default_rng(seed)
    unmixing = pw.Unmixing("nfindr", k)
    unmixing._take(rng.gamma(0.7, size=(k, 30)), np.zeros(30))
    spectra = (rng.dirichlet(np.ones(k), 4) @ unmixing.basis + spread * rng.normal(size=(4, 30))).astype(np.float32)
    abundances = unmixing.transform(spectra)
    expected = np.array([simplex_oracle(unmixing.basis, row.astype(float)) for row in spectra])
    limit = 1e-13 * np.linalg.cond(unmixing.basis) ** 2 * max(1.0, spread)
    assert np.allclose(abundances, expected, rtol=0, atol=max(limit, 1e-8))
    assert (abundances >= 0).all()
    # sums of k numbers in another order differ by an ulp or two
    assert np.allclose(abundances.sum(axis=1), 1, rtol=0, atol=4 * np.finfo(float).eps)


def test_pca_matches_scikit_learn_up_to_sign():
    spectra, _, _ = mixtures(noise=0.5)
    ours = pw.Unmixing("pca", 4).fit(spectra)
    peer = PCA(4, svd_solver="full").fit(spectra.astype(float))
    signs = np.sign(np.einsum("kf,kf->k", ours.basis, peer.components_))
    # Gram matrices square the condition number; float64 leaves 1e-8 of it
    assert np.allclose(ours.basis * signs[:, None], peer.components_, atol=1e-7)
    assert np.allclose(ours.transform(spectra) * signs, peer.transform(spectra.astype(float)), atol=1e-5)
    assert np.allclose(ours.explained, peer.explained_variance_ratio_, rtol=1e-5)


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
def test_svd_is_uncentred_and_matches_numpy(shape):
    spectra = np.random.default_rng(3).gamma(1.0, size=shape).astype(np.float32)
    unmixing = pw.Unmixing("svd", 3).fit(spectra)
    _, strength, rows = np.linalg.svd(spectra.astype(float), full_matrices=False)
    assert np.allclose(np.abs(np.einsum("kf,kf->k", unmixing.basis, rows[:3])), 1, atol=1e-7)
    assert np.allclose((unmixing.transform(spectra) ** 2).sum(axis=0), strength[:3] ** 2, rtol=1e-9)


def test_nmf_rows_are_scikit_learn_s_at_unit_length():
    spectra, _, _ = mixtures(noise=0.2)
    unmixing = pw.Unmixing("nmf", 3).fit(spectra)
    peer = NMF(3, init="nndsvda", tol=1e-4, max_iter=300, random_state=0).fit(spectra)
    rows = peer.components_ / np.linalg.norm(peer.components_, axis=1, keepdims=True)
    assert np.allclose(unmixing.basis, rows, atol=1e-6)


def test_a_nearly_empty_table_takes_the_sparse_way_to_the_same_basis():
    spectra, _, _ = mixtures(n=200, f=60)
    spectra[:, 8:] = 0
    unmixing = pw.Unmixing("nmf", 3).fit(spectra)
    peer = NMF(3, init="nndsvda", tol=1e-4, max_iter=300, random_state=0).fit(spectra)
    rows = peer.components_ / np.linalg.norm(peer.components_, axis=1, keepdims=True)
    # the stopping rule sees the random start, which fills zeros differently
    assert np.allclose(unmixing.basis, rows, atol=0.02)


@pytest.mark.parametrize("method", ["nmf", "nfindr", "svd"])
def test_noise_free_mixtures_are_explained_whole(method):
    spectra, _, _ = mixtures()
    # coordinate descent stops at 1e-4; the others are exact to float32
    assert pw.Unmixing(method, 3).fit(spectra).residual(spectra).max() < (0.05 if method == "nmf" else 1e-5)


def test_nfindr_finds_pure_spectra_and_their_shares():
    spectra, pure, shares = mixtures(k=4)
    unmixing = pw.Unmixing("nfindr", 4).fit(spectra)
    order = [int(np.argmin(np.linalg.norm(unmixing.basis - row, axis=1))) for row in pure]
    assert np.allclose(unmixing.basis[order], pure, rtol=1e-6)  # float32 spectra
    assert np.allclose(unmixing.transform(spectra)[:, order], shares, atol=1e-4)


@pytest.mark.parametrize("method", ["nmf", "pca", "svd", "nfindr"])
def test_repeats_and_batches_give_the_same_bits(method):
    spectra, _, _ = mixtures(noise=0.3)
    first, second = (pw.Unmixing(method, 3, seed=5).fit(spectra) for _ in range(2))
    assert np.array_equal(first.basis, second.basis)
    together = first.transform(spectra)
    alone = np.concatenate([first.transform(spectra[i : i + 1]) for i in range(len(spectra))])
    assert np.array_equal(together, alone)
    restored = pw.Unmixing.restore(first.state())
    assert np.array_equal(restored.transform(spectra), together)
    assert np.array_equal(restored.residual(spectra), first.residual(spectra))


@pytest.mark.parametrize("method", ["nmf", "pca", "svd", "nfindr"])
def test_residual_is_what_the_components_leave(method):
    spectra, _, _ = mixtures(noise=1.0, k=4)
    unmixing = pw.Unmixing(method, 3).fit(spectra)
    rest = spectra - unmixing.mean - unmixing.transform(spectra) @ unmixing.basis
    expected = np.linalg.norm(rest, axis=1) / np.linalg.norm(spectra.astype(float), axis=1)
    # cancellation of squares: the root of 1e-16
    assert np.allclose(unmixing.residual(spectra), expected, atol=1e-7)


def test_residual_of_a_phase_not_in_the_basis_is_large():
    spectra, pure, shares = mixtures(k=4, n=200)
    known = spectra[shares[:, 3] == 0] if (shares[:, 3] == 0).sum() > 3 else (shares[:, :3] @ pure[:3])
    unmixing = pw.Unmixing("nmf", 3).fit(np.ascontiguousarray(known, dtype=np.float32))
    unknown = np.ascontiguousarray(pure[3:], dtype=np.float32)
    assert unmixing.residual(unknown)[0] > 5 * unmixing.residual(np.ascontiguousarray(known, np.float32)).max()


def test_zero_spectrum_has_no_residual():
    spectra, _, _ = mixtures()
    unmixing = pw.Unmixing("nmf", 3).fit(spectra)
    assert unmixing.residual(np.zeros((1, spectra.shape[1]), np.float32)) == 0


def test_many_rows_are_thinned_and_that_is_said():
    spectra = np.random.default_rng(0).gamma(1.0, size=(1600, 12)).astype(np.float32)
    assert "1500 of 1600" in pw.Unmixing("pca", 2).fit(spectra).notices[0]


def test_slow_convergence_is_said():
    spectra = np.random.default_rng(0).gamma(0.3, size=(60, 50)).astype(np.float32)
    notices = pw.Unmixing("nmf", 20).fit(spectra).notices
    assert not notices or "stopped after 300 iterations" in notices[0]


@pytest.mark.parametrize(
    ("method", "components", "message"),
    [("ica", 3, "method is 'ica'"), ("nmf", 0, "components is 0, expected 1 to 64"), ("nfindr", 1, "expected 2 to 64")],
)
def test_wrong_construction(method, components, message):
    with pytest.raises(ValueError, match=message):
        pw.Unmixing(method, components)


@pytest.mark.parametrize(
    ("method", "spectra", "error", "message"),
    [
        ("nmf", np.ones((5, 4)), TypeError, "spectra is float64"),
        ("nmf", np.ones(5, np.float32), ValueError, r"expected a C-contiguous array \(n, features\)"),
        ("nmf", np.ones((2, 4), np.float32), ValueError, "holds 2 rows, expected at least components = 3"),
        ("nmf", -np.ones((5, 4), np.float32), ValueError, "expected no negative value for nmf"),
        ("nmf", np.zeros((5, 4), np.float32), ValueError, "spectra is all zero"),
        ("pca", np.full((5, 4), np.nan, np.float32), ValueError, "non-finite"),
        ("pca", np.ones((5, 4), np.float32), ValueError, "vary in fewer than 3 independent ways"),
        ("pca", np.eye(5, 2, dtype=np.float32), ValueError, "expected at least 3 rows and features"),
        ("nfindr", np.tile(np.eye(4, dtype=np.float32)[:2], (3, 1)), ValueError, "fewer than 2 independent ways"),
    ],
)
def test_wrong_spectra_are_named(method, spectra, error, message):
    with pytest.raises(error, match=message):
        pw.Unmixing(method, 3).fit(spectra)


def test_transform_needs_a_fit_and_the_same_features():
    spectra, _, _ = mixtures(noise=0.1)
    with pytest.raises(ValueError, match="no basis yet"):
        pw.Unmixing("pca", 3).transform(spectra)
    fitted = pw.Unmixing("pca", 3).fit(spectra)
    with pytest.raises(ValueError, match=r"spectra has shape \(\d+, 39\), expected \(n, 40\)"):
        fitted.transform(np.ascontiguousarray(spectra[:, :39]))
