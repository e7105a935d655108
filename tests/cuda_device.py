"""The CUDA device that tests run on: a real one, or a host that plays it.

WKMEANS_CUDA_ON_HOST names `_cuda`, built with WKMEANS_CUDA=HOST (tests/cuda_on_host). Its tensors
are in the memory of the played device, which works late: only when somebody looks at its results.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import wkmeans

torch = pytest.importorskip("torch")

PATH = os.environ.get("WKMEANS_CUDA_ON_HOST")
IS_PLAYED = PATH is not None
FINDS_RACES = IS_PLAYED and "races" in Path(PATH).parent.name
AVAILABLE = IS_PLAYED or (
    torch.cuda.is_available() and importlib.util.find_spec("wkmeans._cuda") is not None
)
needs_device = pytest.mark.skipif(
    not AVAILABLE, reason="no CUDA device, or built without; `.ci/run cuda-on-host` plays one"
)
needs_played_device = pytest.mark.skipif(
    not IS_PLAYED, reason="asks what only a played device tells: `.ci/run cuda-on-host`"
)
DEVICE = torch.device("cuda", 1 if IS_PLAYED else 0)  # not the one that is current
STREAM = 0x5000


def _library():
    library = ctypes.CDLL(PATH)
    signatures = {
        "n_allocated": (ctypes.c_int64, []),
        "wait": (None, [ctypes.c_size_t]),
        "queued": (ctypes.c_int64, [ctypes.c_size_t]),
        "copy": (None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t]),
        "fail_after": (None, [ctypes.c_int64]),
        "leave_error": (None, []),
        "last_error": (ctypes.c_int, []),
        "exchange_device": (ctypes.c_int, [ctypes.c_int]),
        "device_of_last_launch": (ctypes.c_int, []),
        "findings": (ctypes.c_char_p, []),
        "n_watched": (ctypes.c_int64, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"on_host_{name}")
        function.restype, function.argtypes = result, arguments
        setattr(library, name, function)
    # It makes a Python object, so it is called with the interpreter's lock.
    library.tensor = ctypes.PyDLL(PATH).on_host_tensor
    library.tensor.restype, library.tensor.argtypes = (
        ctypes.py_object,
        [ctypes.c_int64, ctypes.c_size_t],
    )
    return library


library = _library() if IS_PLAYED else None


class DeviceTensor(torch.Tensor):
    """A tensor of the played device. What torch does with it waits for the device's stream."""

    device = property(lambda self: DEVICE)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        library.wait(STREAM)
        if function is torch.Tensor.new_empty:
            return _empty(args[1], kwargs.get("dtype", args[0].dtype))
        result = super().__torch_function__(function, types, args, kwargs)
        if function is torch.Tensor.cpu:
            return result.as_subclass(torch.Tensor)
        return result


def _empty(shape, dtype):
    item = torch.empty((), dtype=dtype).element_size()
    n = int(np.prod(shape))
    capsule = library.tensor(max(n, 1) * item, STREAM)
    if capsule is None:
        raise torch.OutOfMemoryError("the played device has no memory left")
    owned = torch.from_dlpack(capsule)
    return owned.view(dtype)[:n].reshape(shape).as_subclass(DeviceTensor)


def on_device(value):
    """An array or a tensor on the device, laid out as it was."""
    if value is None:
        return None
    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
    if not IS_PLAYED:
        return tensor.cuda()
    storage = torch.as_strided(
        tensor, (tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0
    )
    copy = _empty(storage.shape, tensor.dtype)
    copy.copy_(storage)
    return copy.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def written_late(value):
    """As `on_device`; written by the stream only when it gets there."""
    late = _empty(value.shape, value.dtype)
    late.fill_(0)
    library.copy(late.data_ptr(), value.data_ptr(), value.nbytes, STREAM)
    return late


def check() -> None:
    """That the played device found no fault in what ran on it."""
    if not IS_PLAYED:
        return
    library.wait(STREAM)  # memory is looked at as it is given back
    faults = library.findings().decode()
    assert not faults, faults


@contextlib.contextmanager
def _guard(device):
    before = library.exchange_device(device.index)
    try:
        yield
    finally:
        library.exchange_device(before)


def _install() -> None:
    spec = importlib.util.spec_from_file_location("wkmeans._cuda", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["wkmeans._cuda"] = wkmeans._cuda = module
    torch.cuda.device = _guard
    torch.cuda.current_stream = lambda device=None: SimpleNamespace(cuda_stream=STREAM)


if IS_PLAYED:
    _install()
