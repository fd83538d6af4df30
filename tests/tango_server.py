# SPDX-License-Identifier: BSD-3-Clause
"""Two Tango devices of asyncroscopy's shape without a database, ours, over a simulated specimen: a program for tests.

It prints the devices' addresses as one line of JSON and ends with its standard input. The attribute `misbehave` names
what the devices do wrong; `beam` says where the beam really is.
"""

import json
import sys
import time

import numpy as np
from tango import AttrWriteType, DevEncoded, DevFloat, DevVarFloatArray, DevVarStringArray
from tango.server import Device, attribute, command
from tango.test_context import MultiDeviceTestContext

from probewise.instrument import SimulatedInstrument
from probewise.types import Context, RasterROI

FOV_NM = 200.0
LONGEST_S = 0.8  # a longer frame comes early, so that tests of long ones are quick
SETTINGS = {"dwell_time": 1e-6, "imsize": 512, "scan_region": [0.0, 0.0, 1.0, 1.0]}


class Scan(Device):
    """The settings; the microscope device reads them when it acquires."""

    dwell_time = attribute(dtype=float, access=AttrWriteType.READ_WRITE, unit="s", min_value=1e-9, max_value=10)
    imsize = attribute(dtype=int, access=AttrWriteType.READ_WRITE, unit="px")
    scan_region = attribute(dtype=(float,), max_dim_x=4, access=AttrWriteType.READ_WRITE, min_value=0.0, max_value=1.0)

    def read_dwell_time(self):
        return SETTINGS["dwell_time"]

    def write_dwell_time(self, value):
        SETTINGS["dwell_time"] = value

    def read_imsize(self):
        return SETTINGS["imsize"]

    def write_imsize(self, value):
        SETTINGS["imsize"] = value

    def read_scan_region(self):
        return SETTINGS["scan_region"]

    def write_scan_region(self, value):
        left, top, width, height = (float(item) for item in value)
        if width <= 0 or height <= 0 or left + width > 1 or top + height > 1:
            raise ValueError("scan_region must fit within the relative [0, 1] scan area")
        SETTINGS["scan_region"] = [left, top, width, height]


class Unchecked(Device):
    """As asyncroscopy's base class: nothing says whether the beam is blanked."""

    beam = attribute(dtype=str, doc="blanked, parked, scanning or on")
    misbehave = attribute(dtype=str, access=AttrWriteType.READ_WRITE)

    def init_device(self):
        super().init_device()
        self._sample = SimulatedInstrument("particles", seed=2, fov_nm=FOV_NM)
        self._blanked, self._parked, self._misbehave = True, None, ""
        self._pictures = []
        self._fov_m = FOV_NM * 1e-9

    def read_beam(self):
        return "blanked" if self._blanked else "on" if self._parked is None else "parked"

    def read_misbehave(self):
        return self._misbehave

    def write_misbehave(self, value):
        self._misbehave = value
        self._fov_m = (2 if value == "other field" else 1) * FOV_NM * 1e-9

    @command(dtype_in=DevVarStringArray, dtype_out=str)
    def acquire_scanned_image(self, detectors):
        if self._misbehave == "fault":
            raise RuntimeError("the column valves are closed")
        left, top, width, height = SETTINGS["scan_region"]
        if self._misbehave == "left, top, right, bottom":
            width, height = max(width - left, 0.05), max(height - top, 0.05)
        if self._misbehave == "no region":
            left, top, width, height = 0.0, 0.0, 1.0, 1.0
        cols = SETTINGS["imsize"]
        rows = max(1, round(cols * height / width))
        if self._misbehave == "square pictures":
            rows = cols
        centre, size = (top + height / 2, left + width / 2), (height, width)
        roi = RasterROI((rows, cols), max(100, round(SETTINGS["dwell_time"] * 1e9)), centre, size)
        armed = self._sample.arm(roi, Context((FOV_NM, FOV_NM)))
        self._sample.start(armed)
        counts = self._sample.read_into(armed, np.empty((1, rows * cols), np.float32), timeout_s=60.0).counts[0]
        time.sleep(min(rows * cols * SETTINGS["dwell_time"], LONGEST_S))
        lit = 0.0 if self._blanked else 1.0
        self._pictures = [(counts * lit).astype(np.float32) for _ in detectors]
        if self._misbehave == "integers":
            self._pictures = [picture.astype(np.uint16) for picture in self._pictures]
        if self._misbehave == "other client":
            SETTINGS["imsize"] = cols + 1
        return "a key of the Tiled server"

    @command(dtype_in=int, dtype_out=DevEncoded)
    def get_image_data_cached(self, index):
        picture = self._pictures[index]
        facts = {"shape": list(picture.shape), "dtype": str(picture.dtype)}
        if self._misbehave == "no shape":
            del facts["shape"]
        data = picture.tobytes()
        return json.dumps(facts), data[:-4] if self._misbehave == "cut short" else data

    @command(dtype_in=DevVarFloatArray)
    def place_beam(self, position):
        x, y = (float(value) for value in position)
        self._parked = (x, y)

    @command(dtype_out=DevVarFloatArray)
    def parked(self):
        return list(self._parked)

    @command
    def blank_beam(self):
        self._blanked = True

    @command
    def unblank_beam(self):
        self._blanked = False
        self._parked = None

    @command(dtype_out=DevFloat)
    def get_fov(self):
        return self._fov_m


class Microscope(Unchecked):
    """As its class for AutoScript."""

    beam_state = attribute(dtype=bool, doc="True when blanked")

    def read_beam_state(self):
        return self._blanked and self._misbehave != "blanker sticks"


def main():
    devices = [
        {"class": Scan, "devices": [{"name": "test/nodb/scan"}]},
        {"class": Microscope, "devices": [{"name": "test/nodb/microscope"}]},
        {"class": Unchecked, "devices": [{"name": "test/nodb/unchecked"}]},
    ]
    with MultiDeviceTestContext(devices, host="127.0.0.1", process=False) as context:
        names = ("scan", "microscope", "unchecked")
        print(json.dumps({name: context.get_device_access(f"test/nodb/{name}") for name in names}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
