# SPDX-License-Identifier: BSD-3-Clause
"""Which column of the rvae workflow separates sites of interest from the others?

For each simulated specimen and seed: 8 nm frames of randomly chosen sites as in descriptor_quality.py, patches about
the atoms that the shipped finder finds (bfo: about perovskite B), the shipped encoder, statistics of all of them, and
the area under the ROC curve of the site's value for each column, 0.5 for one that says nothing; what is below 0.5
separates with the sign turned. The columns that the rules choose are named. Truth comes from the specimen.

    python bench/latent_columns.py [--sites 60] [--seeds 100 101] [--specimens graphene mos2 bfo]
"""

import argparse
import json
from pathlib import Path

import numpy as np

from descriptor_quality import area_under_roc, frames_of, machine
from probewise.descriptors import LatentWorkflow
from probewise.experiment.describer import make_describer
from probewise.experiment.loading import build
from probewise.experiment.networks import open_networks
from probewise.experiment.watch import Watch

RULES = ("rare", "max-variance")


def judge(specimen, seed, count):
    frames, interesting, _ = frames_of(specimen, seed, count)
    of = ["perovskite B"] if specimen == "bfo" else []
    configuration = build(
        {
            "descriptor": {"workflow": "rvae", "models": ["atoms", f"{specimen}-encoder"], "of": of},
            "run": {"seed": seed},
        }
    )
    networks = open_networks(configuration)
    seeing = make_describer(configuration, None, "rare", networks, Watch(asks=False))
    descriptions = [seeing.describe(frame) for frame in frames]
    row = {"specimen": specimen, "seed": seed, "sites": count, "of_interest": int(interesting.sum())}
    for component in (*seeing.columns, *RULES):
        sense = "auto" if component in RULES else "maximise"
        workflow = make_describer(
            build({**configuration.model_dump(), "component": {"by": component, "sense": sense}}),
            None,
            component,
            networks,
            Watch(asks=False),
        )
        assert isinstance(workflow, LatentWorkflow)
        report = workflow.fit(descriptions)
        values = np.array([workflow.value(description) for description in descriptions])
        row[component] = area_under_roc(values, interesting)
        if component in RULES:
            row[f"{component} follows"] = report.name
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    parser.add_argument("--specimens", nargs="+", default=["graphene", "mos2", "bfo"])
    arguments = parser.parse_args()
    rows = []
    for specimen in arguments.specimens:
        for seed in arguments.seeds:
            rows.append(judge(specimen, seed, arguments.sites))
            print(
                "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()),
                flush=True,
            )
    result = {"question": __doc__.strip().splitlines()[0], **machine(), "rows": rows}
    path = Path(__file__).parent / "results" / "latent_columns.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
