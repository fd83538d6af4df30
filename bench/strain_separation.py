# SPDX-License-Identifier: BSD-3-Clause
"""Do the peak positions of window spectra separate sites with a 1 % larger period from the others?

The simulated specimen `strained`, 8 nm frames (400 x 400 px, 4 us) at 4e4 e/A^2, sites drawn at random off the border,
10 seeds: area under the ROC curve of the mean lattice spacing of a site, once as the spacing itself and once as the
linear workflow follows it (component = "spacing_nm", the sign by skewness). Beside it what the same workflow says when
it follows the component that is rare.

    python bench/strain_separation.py [--sites 60] [--seeds 10]
"""

import os

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import json
from pathlib import Path

import numpy as np

import probewise as pw
from descriptor_quality import SITES, area_under_roc, machine
from probewise.descriptors import LinearWorkflow

DOSE_E_PER_A2 = 4e4
PIXEL_A = 0.2
DWELL_NS = 4000
CURRENT_PA = DOSE_E_PER_A2 * PIXEL_A**2 * 1.602176634e-19 / (DWELL_NS * 1e-9) * 1e12


def judge(seed, count):
    instrument = pw.open_instrument("simulated:strained", seed=seed, beam_current_pA=CURRENT_PA)
    inner = [row * 25 + col for row in range(1, 24) for col in range(1, 24)]
    chosen = np.random.default_rng(1000 + seed).permutation(inner)[:count]
    centres = SITES.centres_nm[chosen]
    strained = instrument.truth.interesting(centres, SITES.side_nm)
    by_spacing = LinearWorkflow(component="spacing_nm", method="pca")
    by_component = LinearWorkflow(method="pca")
    descriptions = []
    for centre in centres:
        context = pw.Context((8.0, 8.0), tuple(centre - 100.0))
        armed = instrument.arm(pw.RasterROI((400, 400), DWELL_NS, discard_lines=2), context, channels=("HAADF",))
        instrument.start(armed)
        frame = instrument.read_into(armed, np.empty((1, 160_000), np.float32), timeout_s=np.inf)
        descriptions.append(by_spacing.describe(frame))
    instrument.close()
    by_spacing.fit(descriptions)
    by_component.fit(descriptions)
    spacing = np.array([np.nanmean(description.extra["spacing_nm"]) for description in descriptions])
    row = {"seed": seed, "sites": count, "strained": int(strained.sum())}
    row["spacing_auc"] = area_under_roc(spacing, strained)
    row["followed_auc"] = area_under_roc(np.array([by_spacing.value(d) for d in descriptions]), strained)
    row["rare_component_auc"] = area_under_roc(np.array([by_component.value(d) for d in descriptions]), strained)
    row["difference"] = float(np.mean(spacing[strained]) / np.mean(spacing[~strained]) - 1) if strained.any() else None
    row["spread"] = float(np.std(spacing[~strained]) / np.mean(spacing))
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    rows = []
    for seed in range(arguments.seeds):
        rows.append(judge(seed, arguments.sites))
        print("  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    areas = np.array([row["followed_auc"] for row in rows])
    print(f"area under ROC: mean {areas.mean():.3f}, smallest {areas.min():.3f} (bar 0.95)")
    result = {"question": __doc__.strip().splitlines()[0], **machine(), "dose_e_per_A2": DOSE_E_PER_A2, "rows": rows}
    path = Path(__file__).parent / "results" / "strain_separation.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
