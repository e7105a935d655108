"""A model whose weights stay codes holds no dense ones, and needs none while it is loaded."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fresh import run_python  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.transformers import WkmeansConfig, save_pretrained  # noqa: E402


def llama(**sizes):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(num_attention_heads=4, num_key_value_heads=4, **sizes)
    return transformers.LlamaForCausalLM(config).eval()


def saved(model, folder):
    """Bytes of its weights and of its vectors, which stay dense."""
    save_pretrained(model, wkmeans.compress(model, k=16, include="*"), folder)
    sizes = [(p.ndim, p.numel() * p.element_size()) for p in model.parameters()]
    return tuple(sum(size for ndim, size in sizes if (ndim >= 2) == want) for want in (True, False))


def loaded(folder, dequantize):
    with warnings.catch_warnings():  # of the folder's settings, which these add to
        warnings.filterwarnings("ignore", message=".*already has a")
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=WkmeansConfig(dequantize=dequantize)
        )


def memory_after(load):
    """Bytes of all tensors and arrays that there are once a model is loaded, but not before."""
    held = {}
    gc.collect()
    gc.freeze()  # what there is now is not listed
    try:
        model = load()
        gc.collect()
        for holder in gc.get_objects():
            for each in (holder, *gc.get_referents(holder)):
                if type(each) in (torch.Tensor, torch.nn.Parameter):
                    memory = each.untyped_storage()
                    held[memory.data_ptr()] = memory.nbytes()
                elif type(each) is np.ndarray:
                    held.setdefault(each.ctypes.data, each.nbytes)
    finally:
        gc.unfreeze()
    assert isinstance(model, torch.nn.Module)
    return sum(held.values())


@pytest.mark.parametrize("tied", [False, True])
def test_no_dense_weight_is_left(tied, tmp_path):
    sizes = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 320, "num_hidden_layers": 2}
    weights, vectors = saved(llama(**sizes, tie_word_embeddings=tied), tmp_path)
    assert memory_after(lambda: loaded(tmp_path, dequantize=True)) >= weights + vectors
    codes = memory_after(lambda: loaded(tmp_path, dequantize=False))
    assert codes <= weights / 8 + vectors + 4096


RESIDENT = """
import sys, warnings
from pathlib import Path
import transformers
from wkmeans.transformers import WkmeansConfig
warnings.simplefilter("ignore")

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))

few, many, dequantize = sys.argv[1:]
settings = WkmeansConfig(dequantize=bool(int(dequantize)))
load = transformers.AutoModelForCausalLM.from_pretrained
load(few, quantization_config=settings)  # what a first call loads is not the model's
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before = resident("VmRSS")
model = load(many, quantization_config=settings)
print(resident("VmRSS") - before, resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_resident_memory_is_that_of_the_codes(tmp_path):
    few = {"hidden_size": 32, "intermediate_size": 32, "vocab_size": 32}
    many = {"hidden_size": 512, "intermediate_size": 1536, "vocab_size": 512}
    saved(llama(**few, num_hidden_layers=1), tmp_path / "few")
    weights, _ = saved(llama(**many, num_hidden_layers=4), tmp_path / "many")
    grown = {}
    for dequantize in (True, False):
        ran = run_python(RESIDENT, tmp_path / "few", tmp_path / "many", int(dequantize))
        assert ran.returncode == 0, ran.stderr
        grown[dequantize] = [int(number) for number in ran.stdout.split()]
    assert grown[True][0] >= 0.9 * weights
    # Pages of the allocator come on top: a tenth of the weights and more, from run to run.
    assert grown[False][0] <= 0.5 * weights
    assert grown[False][1] <= 0.75 * weights
