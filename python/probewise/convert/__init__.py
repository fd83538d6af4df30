# SPDX-License-Identifier: BSD-3-Clause
"""Models of other programs made into ONNX files with cards. Needs the extra `train`, never at run time."""
