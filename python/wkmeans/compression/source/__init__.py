"""Where the tensors come from: a module, a state dict, or safetensors files read one by one."""

from wkmeans.compression.source.any import open_source
from wkmeans.compression.source.entries import Entry, Source

__all__ = ["Entry", "Source", "open_source"]
