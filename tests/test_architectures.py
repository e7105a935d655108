"""Folders of Hugging Face models, as `save_pretrained` writes them and as people assemble them.

Each is compressed from a shell, in a process that imported nothing, and loaded into a live model.
"""

from __future__ import annotations

import json
import shutil

import pytest
from fresh import run_wkmeans

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")
pytest.importorskip("transformers", reason="needs: pip install 'wkmeans[transformers]'")

from checkpoints import read_safetensors  # noqa: E402
from miniatures import ARCHITECTURES, inputs_of, miniature  # noqa: E402

import wkmeans  # noqa: E402

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FOLDERS = {
    "float32": {},
    "float16": {"dtype": "float16"},
    "bfloat16": {"dtype": "bfloat16"},
    "sharded bfloat16": {"dtype": "bfloat16", "max_shard_size": "20KB"},
}


def save(architecture, folder, dtype="float32", **options):
    """The model's folder, with files beside the weights that are none."""
    model = miniature(architecture).to(DTYPES[dtype])
    model.save_pretrained(folder, **options)
    (folder / "README.md").write_text("a model")
    (folder / "tokenizer.json").write_text("{}")
    shutil.copytree(folder, folder / "original")
    return model


def compressed_by_the_shell(folder, output, *options):
    finished = run_wkmeans("compress", folder, *(options or ("--bits", "3")), "-o", output)
    assert finished.returncode == 0, finished.stderr
    return wkmeans.load(output)


@pytest.fixture(params=FOLDERS)
def kind(request):
    return FOLDERS[request.param]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_the_decompressed_weights(architecture, kind, tmp_path):
    folder, small = tmp_path / "model", tmp_path / "small.safetensors"
    model = save(architecture, folder, **kind)
    assert ("max_shard_size" in kind) == (folder / "model.safetensors.index.json").exists()
    compressed = compressed_by_the_shell(folder, small)
    assert any(getattr(tensor, "k", None) == 8 for tensor in compressed.values())

    plain = tmp_path / "plain"
    plain.mkdir()
    assert run_wkmeans("decompress", small, "-o", plain / "model.safetensors").returncode == 0
    for name in folder.glob("*config.json"):
        shutil.copy(name, plain)
    expected, info = type(model).from_pretrained(plain, output_loading_info=True)
    assert not any(info.values()), info

    live = compressed.apply_to(type(model).from_pretrained(folder))
    inputs = inputs_of(architecture)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    with torch.no_grad():
        assert torch.equal(live(**inputs).logits, expected(**inputs).logits)
    for one, other in live.all_tied_weights_keys.items():
        assert live.get_parameter(one) is live.get_parameter(other)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_live_model_is_compressed_as_its_folder_is(architecture, tmp_path):
    """Parameter by parameter, as far as folders have the names of live models."""
    model = save(architecture, tmp_path / "model", "bfloat16")
    of_folder = wkmeans.compress(tmp_path / "model", bits=3)
    of_model = wkmeans.compress(model, bits=3)
    shared = of_folder.keys() & of_model.keys()
    assert len(shared) >= 8
    for name in shared:
        if of_model[name].dtype == of_folder[name].dtype and hasattr(of_model[name], "k"):
            assert torch.equal(
                torch.tensor(of_model[name].dequantize().astype("float32")),
                torch.tensor(of_folder[name].dequantize().astype("float32")),
            )


@pytest.mark.parametrize("architecture", ["GPT-2", "Qwen2, tied", "T5", "BERT"])
def test_a_tie_survives_being_written_and_compressed_again(architecture, tmp_path):
    model = miniature(architecture)
    compressed = wkmeans.compress(model, bits=3)
    assert compressed.aliases
    compressed.save(tmp_path / "small")
    plain = tmp_path / "plain.safetensors"
    assert run_wkmeans("decompress", tmp_path / "small", "-o", plain).returncode == 0
    arrays, metadata = read_safetensors(plain)
    assert not arrays.keys() & compressed.aliases.keys()
    assert compressed.aliases.items() <= metadata.items()
    again = compressed_by_the_shell(plain, tmp_path / "again")
    assert again.aliases == compressed.aliases
    again.apply_to(miniature(architecture))


FORMER_BUFFERS = {
    "GPT-2": ("transformer.h.0.attn.bias", (1, 1, 32, 32)),
    "BERT": ("bert.embeddings.position_ids", (1, 512)),
    "Llama": ("model.layers.0.self_attn.rotary_emb.inv_freq", (4,)),
}


@pytest.mark.parametrize("architecture", FORMER_BUFFERS)
def test_buffers_of_former_releases_are_no_obstacle(architecture, tmp_path):
    """Files keep what live models now make themselves."""
    from safetensors.torch import load_file, save_file

    save(architecture, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    name, shape = FORMER_BUFFERS[architecture]
    save_file(load_file(path) | {name: torch.ones(shape)}, path, {"format": "pt"})
    compressed = compressed_by_the_shell(tmp_path / "model", tmp_path / "small")
    assert name in compressed
    live = compressed.apply_to(miniature(architecture))
    with torch.no_grad():
        assert torch.isfinite(live(**inputs_of(architecture)).logits).all()


@pytest.mark.parametrize("architecture", ["GPT-2", "Llama", "BERT"])
def test_a_base_models_folder_fits_the_model_with_a_tied_head(architecture, tmp_path):
    """The hub's GPT-2 is a base model's file: names lack the prefix, and the head is tied."""
    model = miniature(architecture)
    prefix = model.base_model_prefix + "."
    state = {
        name.removeprefix(prefix): value
        for name, value in model.state_dict().items()
        if name.startswith(prefix) or architecture != "GPT-2"
    }
    compressed = wkmeans.compress({n: v.clone() for n, v in state.items()}, bits=3)
    live = compressed.apply_to(miniature(architecture))
    embedding = live.get_input_embeddings().weight
    name = next(
        n
        for n in state
        if n.endswith(("wte.weight", "embed_tokens.weight", "word_embeddings.weight"))
    )
    assert torch.equal(embedding, compressed.state_dict("torch")[name])


def test_a_size_and_patterns_for_a_folder_of_bfloat16(tmp_path):
    save("Llama", tmp_path / "model", "bfloat16")
    finished = run_wkmeans(
        *("compress", tmp_path / "model", "--target-bits-per-weight", "5", "-o", tmp_path / "out"),
        *("--exclude", "lm_head.weight", "--json"),
    )
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report["bits_per_weight"] <= 5
    reasons = {tensor["name"]: tensor["reason"] for tensor in report["tensors"]}
    assert reasons["lm_head.weight"] == "excluded by 'lm_head.weight'"
    wkmeans.load(tmp_path / "out").apply_to(miniature("Llama"))


def test_a_folder_for_the_base_model_says_what_the_larger_one_lacks(tmp_path):
    model = miniature("BERT")
    model.bert.save_pretrained(tmp_path)
    compressed = wkmeans.compress(tmp_path, bits=3)
    compressed.apply_to(miniature("BERT").bert)
    with pytest.raises(RuntimeError, match=r"missing 'cls\.predictions"):
        compressed.apply_to(miniature("BERT"))
