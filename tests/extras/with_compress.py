"""The extra `compress`: files to files, from a shell and from Python, bfloat16 among them."""

import ml_dtypes
import numpy as np

import wkmeans
from wkmeans.cli import main

rng = np.random.default_rng(0)
model = {
    "w": rng.standard_normal((32, 32)).astype(ml_dtypes.bfloat16),
    "b": np.zeros(32, np.float16),
}
wkmeans.compress(model, k=256).save_dense("model.safetensors")
assert main(["compress", "model.safetensors", "--bits", "3", "-o", "small.safetensors"]) == 0
assert (
    main(["inspect", "small.safetensors"]) == main(["inspect", "--json", "small.safetensors"]) == 0
)
assert main(["decompress", "small.safetensors", "-o", "plain.safetensors"]) == 0
size = ["--target-bits-per-weight", "6", "-o", "sized.safetensors"]
assert main(["compress", "plain.safetensors", *size]) == 0
assert wkmeans.load("small.safetensors")["w"].dtype == "bfloat16"
assert wkmeans.compress("plain.safetensors", bits=2)["w"].k <= 4
