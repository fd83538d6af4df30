# SPDX-License-Identifier: BSD-3-Clause
import functools
from types import SimpleNamespace

import numpy as np


@functools.lru_cache(maxsize=512)
def _matrix(old, new):
    out = np.zeros((new, old), dtype=np.float32)
    if new <= old:
        edges = np.linspace(0, old, new + 1)
        for i in range(new):
            a, b = edges[i], edges[i + 1]
            first, last = int(a), min(int(np.ceil(b)), old)
            for j in range(first, last):
                out[i, j] = max(0.0, min(b, j + 1) - max(a, j)) / (b - a)
    else:
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), max(old - 2, 0))
        part = at - low
        out[np.arange(new), low] = 1 - part
        if old > 1:
            out[np.arange(new), low + 1] += part
    return out


def resample(image, shape):
    return _matrix(image.shape[0], shape[0]) @ image @ _matrix(image.shape[1], shape[1]).T


def network_input(image):
    low, high = np.percentile(image[::2, ::2], [0.5, 99.5])
    a = image[:, :-2] - 2 * image[:, 1:-1] + image[:, 2:]
    b = (a[:-2] - 2 * a[1:-1] + a[2:]) / 6
    sigma = np.median(np.abs(b[::2, ::2])) / 0.6745
    scale = max(high - low, 8 * sigma) or 1.0
    return ((image - np.float32(low)) / np.float32(scale)).astype(np.float32), SimpleNamespace(offset=low, scale=scale)


class TorchFinder:
    def __init__(self, weights, kind="fast", threshold=0.5, vacancy_bias=0.0):
        import torch

        from networks import AtomNet, Exported, ReferenceUNet
        from scenes import CLASSES

        n = (AtomNet if kind == "fast" else ReferenceUNet)(len(CLASSES))
        n.load_state_dict(torch.load(weights, weights_only=True))
        self.net = Exported(n.eval()).to(memory_format=torch.channels_last)
        self.threshold = threshold
        self.torch = torch
        self.classes = CLASSES

    def maps(self, image, pixel_nm):
        shape = tuple(max(8, round(s * pixel_nm / 0.02)) for s in image.shape)
        frame, _ = network_input(np.ascontiguousarray(resample(image, shape)))
        pad = [(-s) % 8 for s in shape]
        x = np.pad(frame, ((0, pad[0]), (0, pad[1])), mode="edge")
        with self.torch.inference_mode():
            p, c = self.net(self.torch.from_numpy(x[None, None]))
        return p[0, 0].numpy()[: shape[0], : shape[1]], c[0].numpy(), shape

    def __call__(self, image, pixel_nm):
        from types import SimpleNamespace

        from scipy import ndimage

        p, c, shape = self.maps(image, pixel_nm)
        lab, n = ndimage.label(p > self.threshold)
        idx = np.arange(1, n + 1)
        yx = np.array(ndimage.center_of_mass(p, lab, idx)).reshape(-1, 2) if n else np.empty((0, 2))
        score = np.array(ndimage.mean(p, lab, idx)) if n else np.empty(0)
        half = (yx + 0.5) / 2 - 0.5
        kinds = (
            np.array([ndimage.map_coordinates(m, half.T, order=1, mode="nearest") for m in c])
            if n
            else np.empty((len(c), 0))
        )
        scale = np.array(image.shape) / np.array(shape)
        return SimpleNamespace(
            yx=(yx + 0.5) * scale - 0.5, label=kinds.argmax(0) if n else np.empty(0, int), score=score, kinds=kinds
        )


class AtomFinder:
    def __init__(self, model, threshold=0.5):
        from probewise.inference import load_model

        self.model = load_model(model)
        self.threshold = threshold

    def __call__(self, image, pixel_nm):
        from probewise.image import find_atoms, label_atoms
        from probewise.types import Atoms

        native = self.model.card.pixel_nm.native
        m = self.model.card.input.multiple_of
        shape = tuple(max(m, round(s * pixel_nm / native)) for s in image.shape)
        frame, _ = network_input(np.ascontiguousarray(resample(np.ascontiguousarray(image, dtype=np.float32), shape)))
        pad = [(-s) % m for s in shape]
        x = np.pad(frame, ((0, pad[0]), (0, pad[1])), mode="edge")
        p, c = self.model.run(np.ascontiguousarray(x[None, None]))
        p = np.ascontiguousarray(p[0][:, : shape[0], : shape[1]])
        atoms = label_atoms(
            find_atoms(p, self.threshold), np.ascontiguousarray(c[0]), 2.0, classes=self.model.card.classes
        )
        scale = np.array(image.shape) / np.array(shape)
        return Atoms((atoms.yx + 0.5) * scale - 0.5, atoms.label, atoms.score, atoms.classes)
