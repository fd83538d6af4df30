# SPDX-License-Identifier: BSD-3-Clause
import contextlib

import pytest

from fakes import FakeInstrument
from open_beam_case import FIELD
from open_beam_server import OpenBeamServer
from probewise.errors import InstrumentError
from probewise.instrument import open_instrument


@pytest.fixture
def make_fake():
    made = []

    def make(*arguments, **keywords):
        made.append(FakeInstrument(*arguments, **keywords))
        return made[-1]

    yield make
    for fake in made:
        fake.release()


@pytest.fixture
def patient(monkeypatch):
    """A blank is waited for as long as a busy machine may take; tests of a server that never answers do not."""
    monkeypatch.setattr("probewise.instrument.open_beam.control.SAFE_S", 20.0)


@pytest.fixture
def impatient(patient, monkeypatch):
    monkeypatch.setattr("probewise.instrument.open_beam.control.SAFE_S", 0.3)


@pytest.fixture
def server():
    with OpenBeamServer() as made:
        yield made


@pytest.fixture
def opened(patient):
    made = []

    def open_at(server, **options):
        made.append(open_instrument(server.uri, **{"fov_nm": FIELD, **options}))
        return made[-1]

    yield open_at
    for instrument in made:
        with contextlib.suppress(InstrumentError):  # of servers that are gone
            instrument.close()
