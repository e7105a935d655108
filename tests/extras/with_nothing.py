"""Without any extra: NumPy alone clusters, prunes, and says what else would take."""

import sys

import numpy as np

import wkmeans
from wkmeans.cli import main

weights = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
clustering = wkmeans.wkmeans(weights, 4, importance=weights**2)
assert clustering.labels.shape == weights.shape and wkmeans.prune(weights, 0.5).sum() == 512
assert wkmeans.rate.entropy_bits(np.bincount(clustering.labels.ravel())) > 0

packed = wkmeans.compress({"w": weights}, k=4)
packed.save("packed.safetensors")
assert wkmeans.load("packed.safetensors")["w"].k == 4


def missing(extra, function, *arguments, **options):
    """Where something needs an extra, one sentence names it."""
    try:
        function(*arguments, **options)
    except ImportError as error:
        assert f"wkmeans[{extra}]" in str(error) and "\n" not in str(error), error
    else:
        raise AssertionError(f"{function} needs no {extra}")


missing("compress", packed.report().table)
missing("torch", lambda: wkmeans.importance)
missing("torch", packed.state_dict, "torch")
missing("plot", lambda: wkmeans.plot)
missing("torch", wkmeans.compress, object(), k=4, calibration=[])
missing("export", wkmeans.export.to_onnx, None, {})
assert main(["inspect", "packed.safetensors"]) == 1
assert sys.modules.get("torch") is None
