"""Folders of compressed weights, loaded by Hugging Face transformers as any other folder."""

from __future__ import annotations

import copy
import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from miniatures import ARCHITECTURES, GENERATING, inputs_of, miniature  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.transformers import save_pretrained  # noqa: E402


@pytest.fixture(scope="module", params=ARCHITECTURES)
def saved(request, tmp_path_factory):
    """A model, what it is compressed, and the folder that both were written to."""
    model = miniature(request.param)
    compressed = wkmeans.compress(model, bits=3)
    folder = tmp_path_factory.mktemp("folder")
    save_pretrained(model, compressed, folder)
    return request.param, model, compressed, folder


def test_a_folder_loads_as_the_dequantised_weights(saved):
    architecture, model, compressed, folder = saved
    loaded, info = type(model).from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    expected = compressed.apply_to(copy.deepcopy(model))
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    inputs = inputs_of(architecture)
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, expected(**inputs).logits)


def test_loading_says_nothing_of_corruption(saved, caplog):
    _, model, _, folder = saved
    with caplog.at_level("WARNING"):
        type(model).from_pretrained(folder)
    assert not caplog.records


def test_ties_stay_ties(saved):
    _, model, _, folder = saved
    loaded = type(model).from_pretrained(folder)
    assert loaded.all_tied_weights_keys == model.all_tied_weights_keys
    for one, other in loaded.all_tied_weights_keys.items():
        assert loaded.get_parameter(one) is loaded.get_parameter(other)


def test_a_loaded_model_is_an_ordinary_one(saved, tmp_path):
    """It saves dense weights, which load without this package."""
    _, model, _, folder = saved
    loaded = type(model).from_pretrained(folder)
    assert getattr(loaded.config, "quantization_config", None) is None
    loaded.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_the_model_given_stays_as_it_is(saved):
    _, model, _, _ = saved
    assert getattr(model.config, "quantization_config", None) is None


def test_weights_may_stay_codes(saved):
    architecture, model, _, folder = saved
    dense = type(model).from_pretrained(folder)
    settings = wkmeans.transformers.WkmeansConfig(dequantize=False)
    with pytest.warns(UserWarning, match="already has a"):  # the folder's, which this adds to
        coded = type(model).from_pretrained(folder, quantization_config=settings)
    assert any(type(m).__name__ == "CodedWeight" for m in coded.modules())
    inputs = inputs_of(architecture)
    with torch.no_grad():
        torch.testing.assert_close(
            coded(**inputs).logits, dense(**inputs).logits, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("architecture", GENERATING)
def test_generation_from_a_folder(architecture, tmp_path):
    model = miniature(architecture)
    save_pretrained(model, wkmeans.compress(model, bits=3), tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = loaded.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=2, do_sample=False)
    assert tokens.shape[0] == 1 and 4 <= tokens.shape[1] <= 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half(dtype, tmp_path):
    model = miniature("Llama").to(dtype)
    save_pretrained(model, wkmeans.compress(model, bits=3), tmp_path)
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path).dtype == dtype


def test_a_folder_for_another_model_is_noticed(tmp_path):
    model = miniature("Llama")
    save_pretrained(model, wkmeans.compress(model, bits=3), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert any(name.startswith("model.layers.2.") for name in info["missing_keys"])


@pytest.mark.parametrize("architecture", ["Qwen2, tied", "Mixtral"])
def test_a_large_model_is_several_files(architecture, tmp_path):
    model = miniature(architecture)
    compressed = wkmeans.compress(model, bits=3)
    save_pretrained(model, compressed, tmp_path)
    save_pretrained(model, compressed, tmp_path, max_shard_size="4KB")
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 1 and files[0] == f"model-00001-of-{len(files):05}.safetensors"
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    expected = compressed.apply_to(copy.deepcopy(model))
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    for one, other in loaded.all_tied_weights_keys.items():
        assert loaded.get_parameter(one) is loaded.get_parameter(other)
    settings = wkmeans.transformers.WkmeansConfig(dequantize=False)
    with pytest.warns(UserWarning, match="already has a"):
        codes = type(model).from_pretrained(tmp_path, quantization_config=settings)
    inputs = inputs_of(architecture)
    with torch.no_grad():
        torch.testing.assert_close(
            codes(**inputs).logits, expected(**inputs).logits, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(
    ("size", "bytes_"), [(7, 7), ("5GB", 5 * 10**9), ("1.5 MiB", 3 * 2**19), ("2kb", 2000)]
)
def test_sizes_of_files(size, bytes_, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        wkmeans.CompressedModel, "save_shards", lambda _, folder, most: asked.append((folder, most))
    )
    model = miniature("Llama")
    save_pretrained(model, wkmeans.compress(model, bits=3), tmp_path, max_shard_size=size)
    assert asked == [(tmp_path, bytes_)]


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "5", "GB", "0GB", None])
def test_sizes_that_are_none(size, tmp_path):
    model = miniature("Llama")
    with pytest.raises(ValueError, match="max_shard_size: expected a positive number of bytes"):
        save_pretrained(model, wkmeans.compress(model, bits=3), tmp_path, max_shard_size=size)
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_refused(tmp_path):
    model = miniature("Llama")
    compressed = wkmeans.compress(model, bits=3)
    with pytest.raises(TypeError, match="model: expected a transformers"):
        save_pretrained(torch.nn.Linear(2, 2), compressed, tmp_path)
    with pytest.raises(TypeError, match="compressed: expected a CompressedModel, got dict"):
        save_pretrained(model, compressed.state_dict(), tmp_path)
    with pytest.raises(TypeError, match="dequantize: expected a bool, got 'no'"):
        wkmeans.transformers.WkmeansConfig(dequantize="no")
