# SPDX-License-Identifier: BSD-3-Clause
"""The surrogate on a device: on a GPU or emulated beside the CPU's, and with a stand-in whose device is lost."""

import numpy as np
import pytest

import probewise as pw
from fake_cuda import FakeCuda
from on_a_device import on_a_device
from probewise.device import choice, cuda_module
from probewise.errors import ConfigurationError
from probewise.surrogate import gaussian_process

LATTICE = pw.Lattice((7, 11), (1.0, 0.5))


def process(device, **changed):
    return pw.GaussianProcess(LATTICE, **{"kernel": "rbf", "lengthscale": 1.5, "device": device, **changed})


def live(gp, steps=8, policy="ucb", **parameters):
    """Chosen by the process itself, one after the other."""
    sites = []
    for step in range(steps):
        site = int(pw.choose(gp, policy, key=(3, step), **parameters)[0])
        gp.tell(site, float(np.sin(1.3 * site)), noise=0.02 * (step % 3))
        sites.append(site)
    return sites


def everything(gp):
    """A run with each call that a process has, and what came of it."""
    found = [live(gp), live(gp, 3, "log-ei"), gp.log_marginal_likelihood(), gp.level()]
    gp.set_values(np.cos(gp.values))
    found += [list(pw.choose(gp, "straddle", q=3)), gp.mean.copy(), gp.std.copy()]
    gp.set_hyperparameters(2.0, 1.5, 0.05)
    found += [gp.mean.copy(), gp.fit().lengthscale, gp.mean.copy(), gp.bound(slice(3, 9))]
    copy = gp.believe(5)
    found += [copy.mean.copy(), list(gp.indices), list(gp.values), gp.jitter, gp.plan]
    gp.reset()
    return [*found, gp.mean.copy(), len(gp.indices)]


def agree(found, expected, rtol):
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, str):
            assert ours == theirs
        else:
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


@pytest.fixture
def lend(monkeypatch):
    """Puts a stand-in in the place of the extension."""

    def put(cuda):
        monkeypatch.setattr(choice, "cuda_module", lambda: cuda)
        monkeypatch.setattr(gaussian_process, "cuda_module", lambda: cuda)
        return cuda

    return put


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_a_device_lost_at_any_call_changes_nothing_but_a_notice(kernel, lend):
    cuda = lend(FakeCuda())
    expected = everything(process("cpu", kernel=kernel))
    gp = process("cuda", kernel=kernel)
    agree(everything(gp), expected, 0)
    assert (gp.device, gp.notices) == ("cuda", ())
    for calls in [*range(30), cuda.calls - 1]:
        lend(FakeCuda(calls))
        gp = process("cuda", kernel=kernel)
        agree(everything(gp), expected, 1e-12)  # a factor told at once instead of value by value
        assert gp.device == "cpu"
        (notice,) = gp.notices
        assert notice.startswith("the surrogate moved to the CPU after an error on the device: ")
        assert notice.endswith("cudaErrorDeviceUnavailable")


def test_points_and_float32_are_asked_for_in_the_same_way(lend):
    lend(FakeCuda())
    points = np.random.default_rng(0).random((40, 3))
    for precision in ("float64", "float32"):
        gps = [pw.GaussianProcess(points, lengthscale=0.3, precision=precision, device=d) for d in ("cpu", "cuda:0")]
        assert live(gps[0]) == live(gps[1])
        assert gps[1].mean.dtype == precision
        assert not gps[1].mean.flags.writeable


def test_what_a_device_cannot_do_is_refused(lend):
    lend(FakeCuda())
    with pytest.raises(ValueError, match=r"a draw of key .* on a CUDA device, expected device='cpu'"):
        process("cuda").sample((0, 0))
    assert not process("cuda").exact_samples


def test_auto_is_the_cpu_and_a_device_that_is_not_there_an_error(lend):
    lend(None)
    gp = process("auto")
    assert gp.device == "cpu"
    with pytest.raises(ConfigurationError, match="device is 'cuda', but this installation has no CUDA code"):
        process("cuda")


@pytest.mark.parametrize("kernel", ["rbf", "product-matern32", "matern52"])
@pytest.mark.parametrize("device", [pytest.param("cuda", marks=on_a_device)])
def test_on_a_device_as_on_the_cpu(kernel, device):
    gp = process(device, kernel=kernel)
    agree(everything(gp), everything(process("cpu", kernel=kernel)), 1e-9)  # conditioned like 1/noise, in another order
    assert gp.device == "cuda"


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=on_a_device)])
def test_on_a_device_in_float32_within_its_bound(device):
    gps = [process(one, precision="float32", noise=0.05) for one in ("cpu", device)]
    for index in range(0, 77, 2):
        for gp in gps:
            gp.tell(index, float(np.sin(index)))
    for name in ("mean", "std"):
        np.testing.assert_allclose(getattr(gps[1], name), getattr(gps[0], name), atol=1e-4)  # 39 roundings over noise


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=on_a_device)])
def test_draws_are_refused_by_choose_too(device):
    with pytest.raises(ValueError, match="acquisition is 'thompson', expected another on a device"):
        pw.choose(process(device), "thompson")


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=on_a_device)])
def test_the_emulated_device_lost_at_any_call(device):
    if not cuda_module().emulated():
        pytest.skip("a device cannot be lost on purpose")
    expected = live(process("cpu"), 3)
    for calls in range(0, 24, 3):
        gp = process(device)
        cuda_module().lose_device_after(calls)
        try:
            assert live(gp, 3) == expected
            assert gp.device == "cpu"
        finally:
            cuda_module().lose_device_after(-1)
