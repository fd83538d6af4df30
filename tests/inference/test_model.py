# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import os
import sys
import threading
import types

import numpy as np
import pytest
from scipy.ndimage import correlate
from scipy.special import softmax

pytest.importorskip("onnx", reason="the extra test is not installed: onnx writes the small models")
pytest.importorskip("onnxruntime", reason="the extra cpu is not installed")

from onnx import numpy_helper

import tiny_models as tiny
from probewise import models
from probewise.errors import ConfigurationError, ModelError
from probewise.inference import examine_model, load_model, runtime


@pytest.fixture
def tiny_path(tmp_path):
    return tiny.write(tmp_path, tiny.as_model(tiny.segmenter_graph()))


def frames(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_it_gives_what_the_graph_says(tiny_path):
    model = load_model(tiny_path)
    x = frames(2, 1, 16, 24)
    kernel = 0.1 * np.arange(18).reshape(2, 3, 3)
    expected = [[correlate(frame[0], one, mode="constant") for one in kernel] for frame in x.astype(float)]
    (result,) = model.run(x)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, softmax(expected, axis=1), atol=1e-6)  # float32 of sums of nine
    assert model.provider == "CPUExecutionProvider"
    assert model.notices == ()


def test_an_encoder_gives_means_and_spreads(tmp_path):
    x = frames(7, 8, 8)
    mean, log_std = load_model(tiny.encoder(tmp_path)).run(x)
    np.testing.assert_allclose(mean, np.tile(0.01 * x.sum(axis=(1, 2))[:, None], 5), rtol=1e-5)
    np.testing.assert_array_equal(log_std, -mean)


def test_threads_and_batches_do_not_change_a_bit(tiny_path):
    x = frames(4, 1, 64, 64)
    one, two = load_model(tiny_path), load_model(tiny_path, threads=2)
    np.testing.assert_array_equal(one.run(x)[0], two.run(x)[0])
    np.testing.assert_array_equal(one.run(x)[0][2:3], one.run(x[2:3])[0])


def test_several_threads_may_call_at_once(tiny_path):
    model, x = load_model(tiny_path), frames(1, 1, 128, 128)
    expected = model.run(x)[0]
    results = [np.empty(0)] * 4

    def call(index):
        for _ in range(20):
            results[index] = model.run(x)[0]

    threads = [threading.Thread(target=call, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


WRONG_INPUT = {
    "a list": (lambda: [[0.0]], TypeError, "x is list, expected a float32 array"),
    "float64": (lambda: np.zeros((1, 1, 8, 8)), TypeError, "x is float64, expected a float32 array"),
    "rank": (lambda: frames(8, 8), ValueError, r"shape \(8, 8\), expected C-contiguous \(N, 1, H, W\)"),
    "strided": (lambda: frames(1, 1, 8, 16)[..., ::2], ValueError, "x is strided"),
    "empty": (lambda: frames(0, 1, 8, 8), ValueError, "none empty"),
    "channels": (lambda: frames(1, 3, 8, 8), ValueError, "expected 1 along 1"),
    "multiple": (lambda: frames(1, 1, 8, 12), ValueError, "multiples of 8"),
    "not finite": (lambda: np.full((1, 1, 8, 8), np.nan, np.float32), ValueError, "x holds 64 non-finite numbers"),
}


@pytest.mark.parametrize(("make", "kind", "says"), WRONG_INPUT.values(), ids=WRONG_INPUT.keys())
def test_a_wrong_array_is_refused_by_name(make, kind, says, tiny_path):
    with pytest.raises(kind, match=says):
        load_model(tiny_path).run(make())


def test_patches_have_the_side_of_the_card(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2, 8, 9\), expected 8 along W"):
        load_model(tiny.encoder(tmp_path)).run(frames(2, 8, 9))


@pytest.mark.parametrize("arguments", [{"threads": 0}, {"threads": 1.0}, {"deadline_s": 0}, {"deadline_s": np.nan}])
def test_wrong_arguments_are_refused(arguments, tiny_path):
    with pytest.raises(ValueError, match=f"^{next(iter(arguments))} is "):
        load_model(tiny_path, **arguments)


def test_a_changed_file_is_refused(tiny_path):
    content = bytearray(tiny_path.read_bytes())
    content[-1] ^= 1
    tiny_path.write_bytes(content)
    with pytest.raises(ModelError, match=r"tiny\.onnx: sha256 .* as in tiny\.json"):
        load_model(tiny_path)


def test_a_card_of_another_opset_is_refused(tmp_path):
    path = tiny.write(tmp_path, tiny.as_model(tiny.segmenter_graph()), tiny.segmenter_card(opset=17))
    with pytest.raises(ModelError, match="got opset 20, expected 17 as in"):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input": tiny.ModelInput("image", "N1HW", 8, None)}, r"inputs are \['x'\], expected \['image'\]"),
        ({"outputs": (tiny.ModelOutput("z", "softmax", 1),)}, r"outputs are \['y'\], expected \['z'\]"),
        ({"outputs": (tiny.ModelOutput("y", "softmax", 2),)}, r"expected float32 \(1, 2, 32, 32\)"),
    ],
)
def test_a_card_that_the_graph_contradicts_is_refused(changes, says, tmp_path):
    path = tiny.write(tmp_path, tiny.as_model(tiny.segmenter_graph()), tiny.segmenter_card(**changes))
    with pytest.raises(ModelError, match=says):
        load_model(path)


def test_a_frame_size_that_the_file_fixes_is_refused(tmp_path):
    graph = tiny.segmenter_graph(x=("n", 1, 64, 64), y=("n", 2, 64, 64))
    with pytest.raises(ModelError, match="expected axis 2 to be free"):
        load_model(tiny.write(tmp_path, tiny.as_model(graph)))


def test_links_pipes_and_folders_are_no_models(tmp_path, tiny_path):
    link, pipe, folder = (tmp_path / f"{name}.onnx" for name in ("link", "pipe", "folder"))
    link.symlink_to(tiny_path)
    os.mkfifo(pipe)
    folder.mkdir()
    for path, says in ((link, "a symbolic link"), (pipe, "a folder, pipe or device"), (folder, "directory|folder")):
        with pytest.raises(ModelError, match=says):
            load_model(path)


def test_a_file_larger_than_any_model_is_not_read(tmp_path):
    path = tmp_path / "tiny.onnx"
    with path.open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(ModelError, match=f"got {65 << 20} bytes, expected at most {64 << 20}"):
        load_model(path)


def test_missing_files_and_names_are_usage_errors(tmp_path, tiny_path):
    with pytest.raises(ConfigurationError, match=r"absent\.onnx: no such file"):
        load_model(tmp_path / "absent.onnx")
    with pytest.raises(ConfigurationError, match="model is 'nothing', expected a shipped one"):
        load_model("nothing")
    tiny_path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"has no card, expected tiny\.json beside it"):
        load_model(tiny_path)


def test_every_shipped_model_loads_by_its_name():
    assert list(models.names()) == sorted(set(models.names()))
    for name in models.names():
        assert load_model(name).card.name == name


def test_devices(tiny_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="device is 'tpu', expected one of auto, cpu, cuda"):
        load_model(tiny_path, device="tpu")
    if runtime.CUDA in runtime.providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ConfigurationError, match="type: pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu"):
        load_model(tiny_path, device="cuda")
    model = load_model(tiny_path, device="auto")
    assert model.provider == runtime.CPU
    assert model.notices == ("device auto: the models run on the CPU, this onnxruntime knows no CUDA",)


class BrokenSession:
    """What a session on a lost GPU does."""

    def run(self, *_):
        raise RuntimeError("CUDA failure 719")


@pytest.fixture
def cuda_on_paper(monkeypatch):
    """Sessions on the CPU that the model takes for sessions on CUDA; `refuse` makes the next ones fail."""
    open_session, opened, refused = runtime.open_session, [], []

    def on_paper(content, source, *, provider, device_id, **settings):
        opened.append((provider, device_id))
        if refused and provider == runtime.CUDA:
            raise refused[0]
        return open_session(content, source, provider=runtime.CPU, **settings)

    monkeypatch.setattr(runtime, "choose_provider", lambda _: (runtime.CUDA, ()))
    monkeypatch.setattr(runtime, "open_session", on_paper)
    return opened, refused


@pytest.mark.parametrize("device", ["cuda:1", "auto"])
def test_a_lost_gpu_moves_to_the_cpu_and_the_call_is_repeated(device, tiny_path, monkeypatch, cuda_on_paper):
    model = load_model(tiny_path, device=device)
    x = frames(1, 1, 16, 16)
    expected = model.run(x)[0]
    assert (model.provider, model.notices) == (runtime.CUDA, ())
    monkeypatch.setattr(model, "_session", BrokenSession())
    np.testing.assert_array_equal(model.run(x)[0], expected)
    assert model.provider == runtime.CPU
    assert "moved to the CPU after an error on CUDA" in model.notices[-1]
    assert cuda_on_paper[0] == [
        (runtime.CUDA, 1 if device == "cuda:1" else 0),
        (runtime.CPU, 1 if ":" in device else 0),
    ]


def test_a_provider_that_does_not_work_is_an_error_only_where_it_was_asked_for(tiny_path, cuda_on_paper):
    cuda_on_paper[1].append(ConfigurationError("CUDAExecutionProvider could not be used"))
    with pytest.raises(ConfigurationError, match="could not be used"):
        load_model(tiny_path, device="cuda")
    model = load_model(tiny_path, device="auto")
    assert model.provider == runtime.CPU
    assert model.notices == ("tiny: moved to the CPU as CUDA cannot be used: CUDAExecutionProvider could not be used",)


def test_outputs_bound_where_the_model_runs_are_those_of_run(tiny_path):
    model, x = load_model(tiny_path), frames(2, 1, 16, 24)
    for bound, expected in zip(model.run_on_device(x), model.run(x), strict=True):
        np.testing.assert_array_equal(bound, expected)
    with pytest.raises(TypeError, match="x is float64"):
        model.run_on_device(x.astype(float))
    with pytest.raises(ValueError, match="x holds 768 non-finite numbers"):
        model.run_on_device(np.full_like(x, np.nan))


def test_on_cuda_the_arrays_are_those_of_cupy(tiny_path, monkeypatch, cuda_on_paper):
    model, x = load_model(tiny_path, device="cuda:1"), frames(1, 1, 16, 16)
    expected = model.run(x)
    asked = []

    class Binding:
        """Notes what a device would be given, and gives it to the CPU."""

        def __init__(self, session):
            self._binding = session.io_binding()
            self.synchronize_outputs = self._binding.synchronize_outputs

        def bind_input(self, name, kind, device_id, *rest):
            asked.append((name, kind, device_id))
            self._binding.bind_input(name, "cpu", 0, *rest)

        def bind_output(self, name, kind, device_id, *rest):
            asked.append((name, kind, device_id))
            self._binding.bind_output(name, "cpu", 0, *rest)

    class Session:
        def __init__(self, session):
            self._session = session

        def io_binding(self):
            return Binding(self._session)

        def run_with_iobinding(self, binding, options):
            assert waited == [True]
            self._session.run_with_iobinding(binding._binding, options)

    class Pointed(np.ndarray):
        """As CuPy's arrays say where they are."""

        @property
        def data(self):
            return types.SimpleNamespace(ptr=self.ctypes.data)

    waited = []
    stream = types.SimpleNamespace(synchronize=lambda: waited.append(True))
    cupy = types.SimpleNamespace(
        asarray=lambda array: np.asarray(array).view(Pointed),
        empty=lambda shape, dtype: np.empty(shape, dtype).view(Pointed),
        isfinite=np.isfinite,
        cuda=types.SimpleNamespace(get_current_stream=lambda: stream),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(model, "_session", Session(model._session))
    for bound, known in zip(model.run_on_device(x), expected, strict=True):
        np.testing.assert_array_equal(bound, known)
    assert {(kind, device_id) for _, kind, device_id in asked} == {("cuda", 1)}
    assert [name for name, *_ in asked] == [model.card.input.name, *(output.name for output in model.card.outputs)]


@pytest.mark.parametrize(
    ("present", "says"),
    [
        (("onnxruntime", "onnxruntime-gpu"), "both installed and overwrite each other; type: pip uninstall -y"),
        ((), "onnxruntime is missing; type: pip install"),
    ],
)
def test_two_runtimes_or_none_are_refused_with_what_to_type(present, says, tiny_path, monkeypatch):
    monkeypatch.setattr(runtime, "version", lambda name: "1.20" if name in present else None)
    with pytest.raises(ConfigurationError, match=says):
        load_model(tiny_path)
    assert runtime.providers() == ()


def test_threads_come_from_the_environment(tiny_path, monkeypatch):
    monkeypatch.setenv("PROBEWISE_THREADS", "2")
    options = load_model(tiny_path)._session.get_session_options()
    assert options.intra_op_num_threads == 2
    for name in ("intra_op", "inter_op"):  # waiting threads leave their cores to others
        assert options.get_session_config_entry(f"session.{name}.allow_spinning") == "0"
    monkeypatch.setenv("PROBEWISE_THREADS", "many")
    with pytest.raises(ConfigurationError, match="PROBEWISE_THREADS is 'many'"):
        load_model(tiny_path)


def test_all_sessions_share_a_bounded_arena(tiny_path, monkeypatch):
    monkeypatch.setattr(runtime, "MAX_ARENA_BYTES", 8 << 20)
    try:
        model = load_model(tiny_path)
        with pytest.raises(ModelError, match=r"failed: .*memory"):
            model.run(frames(16, 1, 512, 512))
    finally:
        monkeypatch.undo()
        load_model(tiny_path).run(frames(16, 1, 512, 512))


def test_the_walk_finds_what_onnx_finds(tmp_path, tiny_path):
    import onnx

    proto = onnx.load(tiny_path)
    found = examine_model(tiny_path)
    assert found.ir_version == proto.ir_version
    assert found.operators == {"Conv": 1, "Softmax": 1, "Identity": 1}
    assert found.parameters == sum(numpy_helper.to_array(tensor).size for tensor in proto.graph.initializer)


def test_a_failure_inside_names_the_model(tiny_path):
    model = load_model(tiny_path)
    model._outputs = ["absent"]
    with pytest.raises(ModelError, match=r"tiny\.onnx: failed: "):
        model.run(frames(1, 1, 8, 8))
