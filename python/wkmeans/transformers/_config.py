"""What a folder's ``config.json`` says of its compressed weights."""

from __future__ import annotations

from typing import Any

from transformers.quantizers import auto
from transformers.utils.quantization_config import QuantizationConfigMixin

METHOD = "wkmeans"


@auto.register_quantization_config(METHOD)
class WkmeansConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """How `from_pretrained` should load a folder of compressed weights.

    Parameters
    ----------
    dequantize : bool, default True
        Load dense weights, in an ordinary model. If False, weights stay codes in memory, as by
        ``CompressedModel.apply_to(model, keep_codes=True)``.

    Raises
    ------
    TypeError
        Where `dequantize` is no bool.
    """

    def __init__(self, dequantize: bool = True, **_: Any) -> None:
        if not isinstance(dequantize, bool):
            raise TypeError(f"dequantize: expected a bool, got {dequantize!r}")
        self.quant_method = METHOD
        self.dequantize = dequantize

    def get_loading_attributes(self) -> dict[str, Any]:
        """What a caller's configuration may say over the folder's."""
        return {"dequantize": self.dequantize}


# A tuple of those types whose loading attributes a caller may set; the registry has no other door.
auto.LOADING_ATTRIBUTES_CONFIG_TYPES += (WkmeansConfig,)
