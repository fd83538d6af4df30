import numpy as np
import numpy.typing as npt

from . import acquisition as acquisition
from . import descriptors as descriptors
from . import image as image
from . import instrument as instrument
from . import open_beam as open_beam
from . import scan as scan
from . import surrogate as surrogate

__version__: str

class Error(RuntimeError): ...
class NotPositiveDefinite(Error): ...

def simd_level() -> str: ...
def threads() -> int: ...
def all_finite(values: npt.NDArray[np.float32]) -> bool: ...
def philox(key: int, stream: int, index: int) -> tuple[int, int, int, int]: ...
