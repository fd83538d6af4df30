# SPDX-License-Identifier: BSD-3-Clause
"""The module of DigitalMicrograph's own Python, with the DigiScan script calls that Gatan documents."""

import re
import sys
import types

import numpy as np

STATEMENT = re.compile(r"(?:(number|image) (\w+) :?= )?(\w+)\((.*)\)")


class Image:
    def __init__(self, array, number):
        self._array, self._number = array, number
        self.digiscan = False

    def GetID(self):
        return self._number

    def GetNumArray(self):
        return self._array


class Scripts:
    """Runs script text, statement by statement; what is not documented is refused."""

    def __init__(self, column, flyback_ns):
        self.column, self.flyback_ns = column, flyback_ns
        self.images = {}
        self.parameters = {}
        self.texts = []
        self.control = False

    def run(self, text):
        self.texts.append(text)
        names = {}
        for line in filter(None, text.split("\n")):
            matched = STATEMENT.fullmatch(line)
            assert matched, f"not a statement: {line}"
            _, target, command, arguments = matched.groups()
            values = [names[a] if a in names else float(a) for a in arguments.split(", ")] if arguments else []
            result = getattr(self, command)(*values)
            if target:
                names[target] = result

    def FindImageByID(self, number):
        return self.images[int(number)]

    def DSCreateParameters(self, width, height, rotation, pixel_us, line_synch):
        assert rotation == 0
        assert line_synch in (0, 1)
        assert 0.8 <= pixel_us <= 419_430, f"{pixel_us} us"
        self.parameters[7] = {"shape": (int(height), int(width)), "pixel_us": pixel_us}
        return 7.0

    def DSSetParametersSignal(self, parameters, signal, depth, selected, image):
        assert depth in (1, 2, 4)
        assert signal in (0, 1)
        assert selected == 1
        self.parameters[int(parameters)]["image"] = self.images[int(image)]

    def DSStartAcquisition(self, parameters, continuous, synchronous):
        assert (continuous, synchronous) == (0, 1)
        asked = self.parameters[int(parameters)]
        rows, cols = asked["shape"]
        assert rows == cols, "the field of a frame that is not square is not documented"
        field = self.column.fov_nm
        self._into(asked["image"], (0.0, 0.0), (field, field), asked["pixel_us"])
        asked["image"].digiscan = True

    def DSDeleteParameters(self, parameters):
        del self.parameters[int(parameters)]

    def DSScanSubRegion(self, reference, target, top, left, bottom, right, pixel_us):
        assert reference.digiscan, "the reference was not acquired with DigiScan"
        rows, cols = reference.GetNumArray().shape
        assert 0 <= top < bottom <= rows
        assert 0 <= left < right <= cols
        assert reference.GetNumArray().dtype == target.GetNumArray().dtype
        field = self.column.fov_nm
        centre = (((top + bottom) / 2 / rows - 0.5) * field, ((left + right) / 2 / cols - 0.5) * field)
        self._into(target, centre, ((bottom - top) / rows * field, (right - left) / cols * field), pixel_us)

    def DSStopAcquisition(self, parameters):
        assert parameters == -1
        self.column.stopped.set()

    def DSSetScanControl(self, control):
        self.control = bool(control)

    def DSPositionBeam(self, reference, x, y):
        assert reference.digiscan
        assert self.control, "DigiScan does not control the beam"
        rows, cols = reference.GetNumArray().shape
        self.column.park(y / rows, x / cols)

    def _into(self, image, centre, size, pixel_us):
        array = image.GetNumArray()
        counts = self.column.scan(array.shape, centre, size, round(pixel_us * 1000), flyback_ns=self.flyback_ns)
        array[:] = np.rint(counts)


def install(monkeypatch, column, *, flyback_ns=0):
    """Make the module importable; returns what runs the scripts."""
    scripts = Scripts(column, flyback_ns)

    class Microscope:
        def SetBeamBlanked(self, on):
            assert isinstance(on, bool)
            column.blank(on)

    def create(array):
        image = Image(array, 100 + len(scripts.images))
        scripts.images[image.GetID()] = image
        return image

    module = types.ModuleType("DigitalMicrograph")
    module.Py_Microscope = Microscope
    module.CreateImage = create
    module.DeleteImage = lambda image: scripts.images.__setitem__(image.GetID(), None)
    module.ExecuteScriptString = scripts.run
    monkeypatch.setitem(sys.modules, "DigitalMicrograph", module)
    return scripts
