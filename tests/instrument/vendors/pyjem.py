# SPDX-License-Identifier: BSD-3-Clause
"""PyJEM as its docstrings say: microseconds, pixels from the top left corner, one detector at a time, 16 bit."""

import sys
import types

import numpy as np

GRIDS = (256, 512, 1024, 2048, 4096)


class Service:
    """TEMCenter's settings of one detector."""

    def __init__(self, column, flyback_ns):
        self.column = column
        self.flyback_ns = flyback_ns
        self.ip = None
        self.calls = []
        self.mode = 0
        self.grid = (512, 512)
        self.area = (0, 0, 512, 512)
        self.exposure_us = 1.0


def install(monkeypatch, column, *, flyback_ns=0, detectors=("ADF1", "BF")):
    """Make PyJEM importable; returns the service behind it."""
    service = Service(column, flyback_ns)

    class Detector:
        def __init__(self, name):
            assert name in detectors, name

        def set_scanmode(self, value):
            assert value in (0, 1, 3), value
            service.mode = value

        def set_imaging_area(self, Width, Height, X=None, Y=None):
            assert Width == Height in GRIDS, (Width, Height)
            service.grid = (Height, Width)

        def set_areamode_imagingarea(self, Width, Height, X=None, Y=None):
            assert all(isinstance(value, int) for value in (Width, Height, X, Y))
            assert 0 <= X <= X + Width <= service.grid[1], (X, Width)
            assert 0 <= Y <= Y + Height <= service.grid[0], (Y, Height)
            service.area = (X, Y, Width, Height)

        def set_exposuretime_value(self, value):
            assert 0 < value <= 1000, value
            service.exposure_us = value

        def set_spotposition(self, X, Y):
            assert service.mode == 3, "a spot position without spot mode"
            assert 0 <= X <= 4096, X
            assert 0 <= Y <= 4096, Y
            column.park(Y / 4096, X / 4096)

        def snapshot_rawdata(self):
            assert service.mode in (0, 1), "a snapshot in spot mode"
            rows, cols = service.grid
            x, y, width, height = service.area if service.mode == 1 else (0, 0, cols, rows)
            field = column.fov_nm
            centre = ((y + height / 2) / rows - 0.5, (x + width / 2) / cols - 0.5)
            service.calls.append((x, y, width, height, rows))
            counts = column.scan(
                (height, width),
                (centre[0] * field, centre[1] * field),
                (height / rows * field, width / cols * field),
                round(service.exposure_us * 1000),
                flyback_ns=service.flyback_ns,
            )
            return np.minimum(np.rint(counts), 32767).astype("<i2").tobytes()

    class Def3:
        def SetBeamBlank(self, value):
            assert value in (0, 1), value
            column.blank(bool(value))

    package = types.ModuleType("PyJEM")
    detector = types.ModuleType("PyJEM.detector")
    detector.Detector = Detector
    detector.get_attached_detector = lambda: list(detectors)
    detector.set_ip = lambda host: setattr(service, "ip", host)
    tem3 = types.ModuleType("PyJEM.TEM3")
    tem3.Def3 = Def3
    for module in (package, detector, tem3):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return service
