# SPDX-License-Identifier: BSD-3-Clause
"""Training of networks: needs torch (extra `train`) and is never imported at run time."""
