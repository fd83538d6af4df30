# SPDX-License-Identifier: BSD-3-Clause
"""What runs on the computer of a microscope: drivers of its vendor and the server that gives them to probewise.

Standard library and numpy only, Python 3.8 and newer, since vendors' Pythons are old. Nothing here imports probewise.
"""
