# SPDX-License-Identifier: BSD-3-Clause
"""Models as data: ONNX files pinned by their cards, run by ONNX Runtime under a deadline."""

from __future__ import annotations

from probewise.inference.card import Card as Card
from probewise.inference.card import LatentLayout as LatentLayout
from probewise.inference.card import ModelInput as ModelInput
from probewise.inference.card import ModelOutput as ModelOutput
from probewise.inference.card import PixelRange as PixelRange
from probewise.inference.model import Model as Model
from probewise.inference.model import examine_model as examine_model
from probewise.inference.model import load_model as load_model
