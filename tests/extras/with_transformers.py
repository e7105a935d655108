"""The extra `transformers`: a folder in, a smaller one out, loaded by `from_pretrained`."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import wkmeans
from wkmeans.cli import main
from wkmeans.transformers import save_pretrained

config = LlamaConfig(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=1,
    num_attention_heads=4,
    vocab_size=64,
    bos_token_id=1,
    eos_token_id=2,
)
model = LlamaForCausalLM(config).bfloat16()
model.save_pretrained("model")
assert main(["compress", "model", "--bits", "3", "-o", "small.safetensors"]) == 0
compressed = wkmeans.load("small.safetensors")
save_pretrained(model, compressed, "small")
loaded = LlamaForCausalLM.from_pretrained("small", dtype=torch.bfloat16)
compressed.apply_to(model)
for name, value in model.state_dict().items():
    assert torch.equal(loaded.state_dict()[name], value), name
