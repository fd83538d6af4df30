# SPDX-License-Identifier: BSD-3-Clause
"""autoscript_tem_microscope_client as public code uses it: metres, seconds, left/top/width/height, points as (x, y)."""

import math
import types
from enum import Enum

import numpy as np

from instrument.vendors.column import OneThread

SIZES = (256, 512, 1024, 2048, 4096)


class RegionCoordinateSystem(Enum):
    RELATIVE = "Relative"


class Rectangle:
    def __init__(self, left, top, width, height):
        self.left, self.top, self.width, self.height = left, top, width, height


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y


class Region:
    def __init__(self, coordinate_system, rectangle):
        assert coordinate_system is RegionCoordinateSystem.RELATIVE
        assert isinstance(rectangle, Rectangle)
        self.rectangle = rectangle


class StemAcquisitionSettings:
    def __init__(self, dwell_time=None, detector_types=None, size=None, region=None):
        if size not in SIZES:
            raise ValueError(f"size {size} is not a frame size")
        if not 1e-8 <= dwell_time <= 1.0:
            raise ValueError(f"dwell_time {dwell_time} s")
        self.dwell_time, self.detector_types, self.size, self.region = dwell_time, detector_types, size, region


class AdornedImage:
    def __init__(self, data):
        self.data = data


class Acquisition(OneThread):
    _documented = ("acquire_stem_images_advanced",)

    def __init__(self, client):
        super().__init__()
        self._client = client

    def acquire_stem_images_advanced(self, settings):
        assert isinstance(settings, StemAcquisitionSettings)
        microscope, column = self._client._shared, self._client._shared.column
        region, size = settings.region.rectangle, settings.size
        for value in (region.left * size, region.top * size, region.width * size, region.height * size):
            assert abs(value - round(value)) < 1e-6, "a region between the pixels of the whole frame"
        assert region.left + region.width <= 1 + 1e-9
        assert region.top + region.height <= 1 + 1e-9
        shape = (round(region.height * size), round(region.width * size))
        field = microscope.scan_field_of_view * 1e9
        y = (region.top + region.height / 2 - 0.5) * field
        x = (region.left + region.width / 2 - 0.5) * field
        angle = microscope.scan_rotation
        cosine, sine = math.cos(angle), math.sin(angle)
        shift = microscope.beam_shift
        centre = (cosine * y - sine * x + shift.y * 1e9, sine * y + cosine * x + shift.x * 1e9)
        counts = column.scan(
            shape,
            centre,
            (region.height * field, region.width * field),
            round(settings.dwell_time * 1e9),
            angle,
            microscope.flyback_ns,
        )
        return [AdornedImage(np.minimum(np.rint(counts), 65535).astype(np.uint16)) for _ in settings.detector_types]


class Blanker(OneThread):
    _documented = ("blank", "unblank", "is_beam_blanked")

    def __init__(self, client):
        super().__init__()
        self._column = client._shared.column

    def blank(self):
        self._column.blank(True)

    def unblank(self):
        self._column.blank(False)

    @property
    def is_beam_blanked(self):
        return self._column.beam == "blanked"


class Deflectors(OneThread):
    _documented = ("beam_shift",)

    def __init__(self, client):
        super().__init__()
        self._client = client

    @property
    def beam_shift(self):
        return self._client._shared.beam_shift

    @beam_shift.setter
    def beam_shift(self, point):
        assert isinstance(point, Point)
        self._client._shared.beam_shift = point


class Optics(OneThread):
    _documented = ("scan_field_of_view", "scan_rotation", "paused_scan_beam_position", "deflectors", "blanker")

    def __init__(self, client):
        super().__init__()
        self._client = client
        self._deflectors = Deflectors(client)
        self._blanker = Blanker(client)

    deflectors = property(lambda self: self._deflectors)
    blanker = property(lambda self: self._blanker)

    @property
    def scan_field_of_view(self):
        return self._client._shared.scan_field_of_view

    @scan_field_of_view.setter
    def scan_field_of_view(self, metres):
        assert 1e-9 <= metres <= 1e-3, f"{metres} m"
        self._client._shared.scan_field_of_view = metres

    @property
    def scan_rotation(self):
        return self._client._shared.scan_rotation

    @scan_rotation.setter
    def scan_rotation(self, radians):
        assert abs(radians) <= 2 * math.pi
        self._client._shared.scan_rotation = radians

    @property
    def paused_scan_beam_position(self):
        y, x = self._client._shared.column.parked_at
        return [x, y]

    @paused_scan_beam_position.setter
    def paused_scan_beam_position(self, position):
        x, y = position
        self._client._shared.column.park(y, x)


class OldOptics(Optics):
    """Before the blanker was an object of its own."""

    _documented = ("scan_field_of_view", "scan_rotation", "paused_scan_beam_position", "deflectors", "blank", "unblank")

    def blank(self):
        self._client._shared.column.blank(True)

    def unblank(self):
        self._client._shared.column.blank(False)


def install(monkeypatch, column, *, flyback_ns=0, old=False, unreachable=False):
    """Make the packages importable; returns what all clients share."""
    shared = types.SimpleNamespace(
        column=column,
        scan_field_of_view=500e-9,
        scan_rotation=0.0,
        beam_shift=Point(0.0, 0.0),
        flyback_ns=flyback_ns,
        connected=0,
    )

    class TemMicroscopeClient(OneThread):
        _documented = ("connect", "disconnect", "acquisition", "optics")

        def connect(self, host, port):
            if unreachable:
                raise OSError(f"no AutoScript server at {host}:{port}")
            self._shared = shared
            shared.connected += 1
            self._parts = {"acquisition": Acquisition(self), "optics": (OldOptics if old else Optics)(self)}

        def disconnect(self):
            shared.connected -= 1

        acquisition = property(lambda self: self._parts["acquisition"])
        optics = property(lambda self: self._parts["optics"])

    package = types.ModuleType("autoscript_tem_microscope_client")
    package.TemMicroscopeClient = TemMicroscopeClient
    structures = types.ModuleType("autoscript_tem_microscope_client.structures")
    for kind in (Rectangle, Point, Region, StemAcquisitionSettings):
        setattr(structures, kind.__name__, kind)
    enumerations = types.ModuleType("autoscript_tem_microscope_client.enumerations")
    enumerations.RegionCoordinateSystem = RegionCoordinateSystem
    for module in (package, structures, enumerations):
        monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    return shared
