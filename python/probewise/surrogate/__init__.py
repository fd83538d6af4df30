# SPDX-License-Identifier: BSD-3-Clause
"""What is believed about the values at all candidates, given those told so far."""

from probewise.surrogate.fit import FitResult as FitResult
from probewise.surrogate.gaussian_process import GaussianProcess as GaussianProcess
