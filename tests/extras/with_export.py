"""The extra `export`: torch's default exporter, and codebooks in the graph it makes."""

import warnings

import numpy as np
import onnxruntime
import torch
from torch import nn

import wkmeans

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8)).eval()
clusterings = {}
with torch.no_grad():
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            clusterings[name] = wkmeans.wkmeans(weight, 4)
            weight.copy_(clusterings[name].dequantize())
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the exporter warns of itself
    exported = torch.onnx.export(model, (torch.zeros(2, 12),), input_names=["x"])
indexed = wkmeans.export.to_onnx(exported.model_proto, clusterings)
session = onnxruntime.InferenceSession(indexed.SerializeToString())
x = torch.randn(2, 12)
(y,) = session.run(None, {"x": x.numpy()})
np.testing.assert_allclose(y, model(x).detach().numpy(), atol=1e-5)
