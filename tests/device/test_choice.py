# SPDX-License-Identifier: BSD-3-Clause
import types

import pytest

from probewise.app import doctor
from probewise.device import choice, choose_device, devices_found, parse_device
from probewise.errors import ConfigurationError, CudaError


def module(count=2, emulated=False, problem=None):
    def counted():
        if problem is not None:
            raise CudaError(problem)
        return count

    return types.SimpleNamespace(
        device_count=counted, device_name=lambda number: f"Tester {number}", emulated=lambda: emulated
    )


@pytest.fixture
def installed(monkeypatch):
    """Puts a stand-in, or nothing, in the place of the extension."""
    return lambda found: monkeypatch.setattr(choice, "cuda_module", lambda: found)


def test_names_of_devices():
    assert [parse_device(name) for name in ("auto", "cpu", "cuda", "cuda:0", "cuda:12")] == ["auto", "cpu", 0, 0, 12]


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:-1", "CUDA", "", None, 0])
def test_other_names_are_refused_with_the_field(name):
    with pytest.raises(ConfigurationError, match=r"^run\.device is .*expected one of auto, cpu, cuda"):
        parse_device(name, "run.device")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "no CUDA code; type: PROBEWISE_CUDA=1 pip install"),
        (module(0), "no CUDA device or no driver"),
        (module(problem="counting devices: cudaErrorUnknown"), "CUDA does not work here: counting devices"),
    ],
)
def test_without_a_device_auto_is_the_cpu_and_cuda_an_error_that_both_say_why(found, why, installed):
    installed(found)
    taken = choose_device("auto")
    assert (taken.name, taken.number) == ("cpu", None)
    assert why in taken.why
    with pytest.raises(
        ConfigurationError, match=r"run\.device is 'cuda', but .*expected a device that is there"
    ) as error:
        choose_device("cuda", "run.device")
    assert why in str(error.value)
    assert choose_device("cpu").why == "asked for"


def test_with_devices_auto_takes_the_first_and_a_number_that_is_not_there_is_an_error(installed):
    installed(module())
    assert choose_device("auto").name == "cuda:0"
    assert "Tester 0" in choose_device("auto").why
    assert choose_device("cuda:1").number == 1
    assert devices_found() == (["Tester 0", "Tester 1"], "")
    with pytest.raises(ConfigurationError, match="there are 2 CUDA devices"):
        choose_device("cuda:2")


def test_auto_never_takes_an_emulation(installed):
    installed(module(1, emulated=True))
    assert choose_device("auto").name == "cpu"
    assert "emulation" in choose_device("auto").why
    assert choose_device("cuda").name == "cuda:0"


def test_doctor_says_what_there_is(installed, monkeypatch):
    assert set(doctor._cuda()) == {"built", "emulated", "devices", "missing", "auto"}
    text = "\n".join(doctor.as_text(doctor.examine()))
    assert "cuda         " in text
