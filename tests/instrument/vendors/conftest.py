# SPDX-License-Identifier: BSD-3-Clause
import pytest

from instrument.vendors.column import Column


@pytest.fixture
def column():
    return Column()
