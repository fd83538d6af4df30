# SPDX-License-Identifier: BSD-3-Clause
from importlib.metadata import EntryPoint

import pytest

import probewise as pw
from fakes import FakeInstrument
from probewise.errors import ConfigurationError
from probewise.instrument import known_schemes, open_instrument, registry


def open_fake(rest, *, fov_nm=8.0):
    fake = FakeInstrument()
    fake.opened_with = (rest, fov_nm)
    return fake


def open_with_anything(rest, **options):
    return options


@pytest.fixture
def backends(monkeypatch):
    points = [
        EntryPoint("fake", f"{__name__}:open_fake", registry.GROUP),
        EntryPoint("any", f"{__name__}:open_with_anything", registry.GROUP),
        EntryPoint("vendor", "module_that_is_not_installed:open", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda *, group: points if group == registry.GROUP else [])
    monkeypatch.setattr(
        EntryPoint, "load", lambda point: globals()[point.attr] if point.attr in globals() else missing()
    )


def missing():
    raise ImportError("No module named 'module_that_is_not_installed'")


def test_shipped_backends_are_entry_points():
    assert {"simulated", "image"} <= set(known_schemes())
    assert pw.open_instrument is open_instrument


def test_scheme_rest_and_options_reach_the_backend(backends):
    assert open_instrument("fake:a:b", fov_nm=3.0).opened_with == ("a:b", 3.0)
    assert open_instrument("fake:").opened_with == ("", 8.0)


@pytest.mark.parametrize("uri", ["nion", "nion:", "", ":x", "Fake:x"])
def test_unknown_scheme_lists_the_known_ones(backends, uri):
    with pytest.raises(ConfigurationError, match="expected a URI that begins with one of any:, fake:, vendor:"):
        open_instrument(uri)


@pytest.mark.parametrize("uri", [3, None, b"fake:x"])
def test_a_uri_is_a_string(backends, uri):
    with pytest.raises(TypeError, match=r"uri is .*, expected a string such as"):
        open_instrument(uri)


def test_unknown_option_is_named_with_the_known_ones(backends):
    with pytest.raises(ConfigurationError, match="option fow_nm = 3 is unknown to fake:, expected fov_nm"):
        open_instrument("fake:x", fow_nm=3)


def test_a_backend_that_cannot_be_imported_says_so(backends):
    with pytest.raises(ConfigurationError, match="'vendor:x' cannot be loaded: No module named"):
        open_instrument("vendor:x")


def test_a_backend_that_gives_no_instrument_is_refused(backends):
    with pytest.raises(ConfigurationError, match="is a dict, expected the verbs"):
        open_instrument("any:x", whatever=1)


def test_public_names_are_listed_and_unknown_ones_refused():
    from probewise import instrument

    assert {"session", "open_instrument", "render", "truth", "SPECIMENS", "read_picture"} <= set(dir(instrument))
    with pytest.raises(AttributeError, match="no attribute 'microscope'"):
        instrument.microscope  # noqa: B018
