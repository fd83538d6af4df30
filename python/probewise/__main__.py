# SPDX-License-Identifier: BSD-3-Clause
"""`python -m probewise`: the command line."""

from probewise.app.cli import main

main()
