# SPDX-License-Identifier: BSD-3-Clause
"""What the backend of Nion Swift uses of it, without Swift: the calls as its documentation and users name them."""

import time
from types import SimpleNamespace

import numpy as np

NAMES = ("HAADF", "MAADF", "X1")


class Parameters:
    """Settings of a frame; `flyback_time_us` only where the device has it."""

    def __init__(self, values=None, *, flyback_us=None):
        own = {
            "pixel_size": (256, 128),
            "fov_nm": 100.0,
            "center_nm": (0.0, 0.0),
            "rotation_rad": 0.0,
            "pixel_time_us": 1.0,
            "subscan_pixel_size": None,
            "subscan_fractional_center": None,
            "subscan_fractional_size": None,
            "subscan_rotation": 0.0,
        }
        if flyback_us is not None:
            own["flyback_time_us"] = flyback_us
        self.__dict__.update(own | dict(values or {}))

    def as_dict(self):
        return dict(self.__dict__)


class FakeDevice:
    """A scan device that gives `lines` rows a read. `faults` maps the number of a read to what it becomes.

    A fault is a function of the six things that read_partial gives, and may raise.
    """

    scan_device_id = "fake_scan"

    def __init__(self, *, lines=8, takes=None, flyback_us=None):
        self.lines = lines
        self.takes = takes or (lambda parameters: parameters)  # what the device makes of what it is told
        self.faults = {}
        self.calls = []
        self.current_frame_parameters = Parameters(flyback_us=flyback_us)
        self.channels_enabled = (False, True, False)
        self.channel_count = len(NAMES)
        self.is_scanning = False
        self.number = 0
        self.reads = 0
        self.row = 0
        self.data = {}
        self.wait_s = 0.0
        self.too_fast = False
        self.dtype = np.float32

    def get_channel_name(self, index):
        return NAMES[index]

    def set_channel_enabled(self, index, enabled):
        on = list(self.channels_enabled)
        on[index] = enabled
        self.channels_enabled = tuple(on)
        if not any(on):
            self.cancel()
        return True

    def calculate_max_field_of_view(self, parameters):
        return 1000.0

    def set_frame_parameters(self, parameters):
        self.calls.append("set_frame_parameters")
        self.current_frame_parameters = self.takes(Parameters(parameters.as_dict()))

    def start_frame(self, is_continuous):
        assert is_continuous is False
        self.calls.append("start_frame")
        self.number += 1
        self.is_scanning, self.row, self.reads = True, 0, 0
        rows, cols = self.current_frame_parameters.subscan_pixel_size
        self.data = {
            index: (np.arange(rows * cols).reshape(rows, cols) + 10_000 * index).astype(self.dtype)
            for index, on in enumerate(self.channels_enabled)
            if on
        }
        self.end = time.monotonic() + (0 if self.too_fast else self._scheduled_s())
        return self.number

    def _scheduled_s(self):
        rows, cols = self.current_frame_parameters.subscan_pixel_size
        return rows * cols * self.current_frame_parameters.pixel_time_us * 1e-6

    def read_partial(self, frame_number, pixels_to_skip):
        assert frame_number == self.number
        self.reads += 1
        time.sleep(self.wait_s)
        rows, cols = self.current_frame_parameters.subscan_pixel_size
        top, self.row = self.row, min(self.row + self.lines, rows)
        complete = self.row == rows or not self.is_scanning
        if complete:
            time.sleep(max(0.0, self.end - time.monotonic()) if self.is_scanning else 0.0)
            self.is_scanning = False
        elements = []
        for index, whole in self.data.items():
            shown = np.zeros_like(whole)
            shown[: self.row] = whole[: self.row]
            elements.append({"data": shown, "properties": {"channel_id": index}})
        area = ((0, 0), (rows, cols)) if complete else ((top, 0), (self.row - top, cols))
        given = (elements, complete, False, area, self.number, self.row * cols)
        return self.faults[self.reads](*given) if self.reads in self.faults else given

    def cancel(self):
        self.calls.append("cancel")
        self.is_scanning = False

    def stop(self):
        self.calls.append("stop")

    def set_scan_context_probe_position(self, context, position):
        self.calls.append(("probe", context.fov_nm, position))


class FakeStem:
    """Controls by name; one in `stuck` does not move."""

    def __init__(self, **controls):
        self.controls = controls
        self.stuck = False

    def TryGetVal(self, name):
        return name in self.controls, self.controls.get(name)

    def SetValAndConfirm(self, name, value, tolerance, timeout_ms):
        if not self.stuck:
            self.controls[name] = value
        return not self.stuck


class FakeSwift:
    """Stands for probewise.instrument.nion.swift.Swift."""

    name = "fake_scan"

    def __init__(self, device=None, stem=None):
        self.device = device or FakeDevice()
        self.stem = stem or FakeStem(C_Blank=0.0)
        shown = self.device.current_frame_parameters
        self.source = SimpleNamespace(
            is_playing=False,
            is_recording=False,
            get_current_frame_parameters=lambda: Parameters(shown.as_dict()),
            scan_settings=SimpleNamespace(get_frame_parameters_from_dict=Parameters),
        )
        self.camera = None
        self.released = 0

    def context(self, parameters):
        return SimpleNamespace(fov_nm=parameters.fov_nm, size=parameters.pixel_size)

    def point(self, yx):
        return yx

    def release(self):
        self.released += 1
