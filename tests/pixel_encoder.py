# SPDX-License-Identifier: BSD-3-Clause
"""An encoder whose variables are single pixels of a patch."""

import numpy as np
import onnx
from onnx import TensorProto, helper

import tiny_models as tiny
from probewise.descriptors import LatentEncoder
from probewise.inference import LatentLayout, ModelInput, ModelOutput

SIDE = 6


# Pixels that angle, shift y, shift x and three contents are read from.
PIXELS = (0, 1, 2, 3, 4, 5)


def encoder(folder, *, rotation="full", symmetry=3, pixel_nm=None):
    """z_mean = the first row of the patch, z_logsd = its negative."""
    weights = np.zeros((SIDE * SIDE, 6), np.float32)
    weights[PIXELS, range(6)] = 1
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"], axis=1),
            helper.make_node("MatMul", ["f", "w"], ["z_mean"]),
            helper.make_node("Neg", ["z_mean"], ["z_logsd"]),
        ],
        "pixels",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 6]) for name in ("z_mean", "z_logsd")],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    card = tiny.segmenter_card(
        kind="encoder",
        input=ModelInput("x", "NHW", 1, SIDE),
        outputs=(ModelOutput("z_mean", "none", 1), ModelOutput("z_logsd", "none", 1)),
        classes=(),
        background="absent",
        pixel_nm=pixel_nm,
        latent=LatentLayout(rotation, True, 3, symmetry),
    )
    return LatentEncoder(tiny.write(folder, tiny.as_model(graph), card))


def patches_of(rows):
    """Patches whose first row is given, (n, 6)."""
    out = np.zeros((len(rows), SIDE, SIDE), np.float32)
    out[:, 0] = rows
    return out


def sites(count=14, atoms=40, odd=(), seed=0):
    """First rows (atoms, 6) of each site; sites in `odd` hold three atoms with content 1 far away."""
    random = np.random.default_rng(seed)
    out = random.normal(0, 1, (count, atoms, 6)).astype(np.float32)
    out[:, :, 0] = random.uniform(-np.pi, np.pi, (count, atoms))
    for site in odd:
        out[site, :3, 4] += 15
    return out


def described(workflow, rows, area_nm2=4.0):
    centres = np.random.default_rng(1).random((len(rows), 2))
    return workflow.describe_patches(patches_of(rows), centres, area_nm2=area_nm2)
