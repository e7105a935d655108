"""The extra `torch`: importances of a module, and codebooks under them."""

import torch
from torch import nn

import wkmeans

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8))
batches = [(torch.randn(4, 12), torch.randint(8, (4,)))]
importances = wkmeans.importance.estimate(model, batches, objective="fisher")
importances.save("importances.safetensors")
loaded = wkmeans.importance.Importances.load("importances.safetensors")
importance, _ = loaded["0.weight"]
weights = model[0].weight.detach()
clustering = wkmeans.wkmeans(weights, 4, importance=importance)
assert isinstance(clustering.dequantize(), torch.Tensor)
assert wkmeans.wkmeans(weights.bfloat16(), 4).labels.dtype == torch.uint8
packed = wkmeans.compress(model, k=4, importances=loaded, coding="packed")
packed.save("small.safetensors")
assert len(wkmeans.load("small.safetensors").apply_to(model)[0].weight.unique()) == 4
