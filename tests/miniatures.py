"""Miniature configurations of the architectures that people have."""

from __future__ import annotations

import torch
import transformers

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 96,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
IMAGE = {"image_size": 16, "patch_size": 8}
ARCHITECTURES = {
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", {**SIZES, "n_positions": 32, "n_inner": 48}),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "Mistral": ("MistralForCausalLM", "MistralConfig", GROUPED),
    "Qwen2, tied": ("Qwen2ForCausalLM", "Qwen2Config", {**GROUPED, "tie_word_embeddings": True}),
    "Mixtral": ("MixtralForCausalLM", "MixtralConfig", {**GROUPED, "num_local_experts": 4}),
    "BERT": ("BertForMaskedLM", "BertConfig", SIZES),
    "T5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": 32, "d_ff": 48, "num_layers": 2, "num_heads": 4, "d_kv": 8, "vocab_size": 96},
    ),
    "ViT": ("ViTForImageClassification", "ViTConfig", {**SIZES, **IMAGE}),
}
GENERATING = ("GPT-2", "Llama", "Mistral", "Qwen2, tied", "Mixtral")


def miniature(architecture):
    model, config, sizes = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**sizes)).eval()


def inputs_of(architecture):
    if architecture == "ViT":
        return {"pixel_values": torch.randn(2, 3, 16, 16)}
    ids = torch.randint(3, 96, (2, 7))
    return {"input_ids": ids} | ({"decoder_input_ids": ids} if architecture == "T5" else {})
