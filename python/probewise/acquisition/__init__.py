# SPDX-License-Identifier: BSD-3-Clause
"""Where to measure next, given a posterior and nothing else."""

from probewise.acquisition import space_filling as space_filling
from probewise.acquisition.choice import choose as choose
from probewise.acquisition.choice import evaluate as evaluate
from probewise.acquisition.functions import POLICIES as POLICIES
from probewise.acquisition.functions import expected_improvement as expected_improvement
from probewise.acquisition.functions import log_expected_improvement as log_expected_improvement
from probewise.acquisition.functions import max_std as max_std
from probewise.acquisition.functions import probability_of_improvement as probability_of_improvement
from probewise.acquisition.functions import straddle as straddle
from probewise.acquisition.functions import target_probability as target_probability
from probewise.acquisition.functions import upper_confidence_bound as upper_confidence_bound
from probewise.acquisition.objectives import Objective as Objective
from probewise.acquisition.objectives import StopRule as StopRule
from probewise.acquisition.objectives import is_flat as is_flat
from probewise.acquisition.objectives import objective as objective
from probewise.acquisition.space_filling import maximin as maximin
from probewise.acquisition.threshold import otsu_threshold as otsu_threshold
