# SPDX-License-Identifier: BSD-3-Clause
"""From a trained autoencoder to NAME.onnx and NAME.json, encoder and decoder, compared with torch."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probewise.inference import Card, LatentLayout, ModelInput, ModelOutput, PixelRange, load_model
from probewise.inference.card import Normalisation
from probewise.training.autoencoder import Decoder, Encoder
from probewise.training.fit import Fitted
from probewise.types import Float32Array

OPSET = 18
LICENCE = "BSD-3-Clause"
_PATIENCE_S = 300.0  # large patches take their time, and the machine may be busy
AGREEMENT = 2e-4  # largest difference between ONNX Runtime and torch, of latents and of pixels


def encode(encoder: Encoder, patches: Float32Array) -> tuple[Float32Array, Float32Array]:
    """z_mean and z_logsd of patches (n, side, side), by torch."""
    with torch.no_grad():
        parts = [encoder(part) for part in torch.from_numpy(patches).split(4096)]
    mean, spread = (torch.cat(results).numpy() for results in zip(*parts, strict=True))
    return mean, spread


def export_autoencoder(
    fitted: Fitted,
    folder: Path,
    name: str,
    patches: Float32Array,
    *,
    pixel_nm: PixelRange | None,
    symmetry: int | None,
    normalisation: Normalisation = "robust",
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> tuple[Path, Path]:
    """Write NAME-encoder and NAME-decoder with their cards; returns the two .onnx files.

    patches  that ONNX Runtime and torch are compared on, and whose content gives the card's reference statistics
    raises   RuntimeError when they differ by more than AGREEMENT
    """
    chosen = fitted.encoder.invariances
    mean, spread = encode(fitted.encoder, patches)
    layout = LatentLayout(chosen.rotation, chosen.translation, chosen.content, symmetry)
    common = {
        "opset": OPSET,
        "classes": (),
        "background": "absent",
        "pixel_nm": pixel_nm,
        "normalisation": normalisation,
        "latent": layout,
        "licence": LICENCE,
        "recipe": {**recipe, "minutes": round(fitted.minutes, 2)},
    }
    content = mean[:, 3:].astype(np.float64)
    reference = {
        "content_mean": content.mean(0).round(5).tolist(),
        "content_covariance": np.atleast_2d(np.cov(content.T)).round(5).tolist(),
    }
    with torch.no_grad():
        drawn = fitted.decoder(torch.from_numpy(mean[:256])).numpy()
    measured = {**metrics, "noise": round(fitted.noise, 5)}
    encoder_path = _write(
        fitted.encoder,
        torch.from_numpy(patches[:3]),
        folder / f"{name}-encoder.onnx",
        ("patches", "z_mean", "z_logsd"),
        {
            **common,
            "kind": "encoder",
            "input": ModelInput("patches", "NHW", 1, chosen.side_px),
            "ood": reference,
            "metrics": measured,
        },
    )
    decoder_path = _write(
        fitted.decoder,
        torch.from_numpy(mean[:3]),
        folder / f"{name}-decoder.onnx",
        ("latents", "patches"),
        {
            **common,
            "kind": "decoder",
            "input": ModelInput("latents", "NF", 1, chosen.side_px),
            "ood": None,
            "metrics": {"noise": measured["noise"]},
        },
    )
    _compare(
        load_model(encoder_path, deadline_s=_PATIENCE_S).run(np.ascontiguousarray(patches[:256])),
        (mean[:256], spread[:256]),
        turn=2 * np.pi / (symmetry or 1),
    )
    _compare(load_model(decoder_path, deadline_s=_PATIENCE_S).run(mean[:256]), (drawn,))
    return encoder_path, decoder_path


def _write(
    module: Encoder | Decoder, example: Tensor, path: Path, names: tuple[str, ...], fields: Mapping[str, Any]
) -> Path:
    content = _serialise(module, example, names)
    card = Card(
        name=path.stem,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        outputs=tuple(ModelOutput(name, "none", 1) for name in names[1:]),
        **fields,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.with_suffix(".json").write_text(card.to_json(), encoding="utf-8")
    return path


def _serialise(module: nn.Module, example: Tensor, names: tuple[str, ...]) -> bytes:
    """One file, weights inside. Traced: the exporter by torch.export takes a hundred times as long for these graphs."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            written,
            dynamo=False,
            input_names=[names[0]],
            output_names=list(names[1:]),
            dynamic_axes={name: {0: "n"} for name in names},
            opset_version=OPSET,
        )
    return written.getvalue()


def _compare(got: tuple[Float32Array, ...], expected: tuple[Float32Array, ...], turn: float | None = None) -> None:
    """RuntimeError when they differ; the angle, the first latent variable, is compared modulo `turn`.

    Of a pattern with a symmetry several directions fit alike, and rounding takes one.
    """
    for number, (result, wanted) in enumerate(zip(got, expected, strict=True)):
        difference = result - wanted
        if turn is not None and number == 0:
            difference[:, 0] = (difference[:, 0] + turn / 2) % turn - turn / 2
        apart = float(np.abs(difference).max())
        if not apart <= AGREEMENT:
            raise RuntimeError(f"ONNX Runtime and torch differ by {apart:.2g}, expected at most {AGREEMENT:g}")
