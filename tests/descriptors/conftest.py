# SPDX-License-Identifier: BSD-3-Clause
import pytest

from pixel_encoder import encoder


@pytest.fixture
def pixels(tmp_path):
    return encoder(tmp_path)
