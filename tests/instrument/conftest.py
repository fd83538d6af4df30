# SPDX-License-Identifier: BSD-3-Clause
import pytest

from fakes import FakeInstrument


@pytest.fixture
def make_fake():
    made = []

    def make(*arguments, **keywords):
        made.append(FakeInstrument(*arguments, **keywords))
        return made[-1]

    yield make
    for fake in made:
        fake.release()
