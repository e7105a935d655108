"""Compressed models in Hugging Face transformers: importing this registers ``"wkmeans"``.

>>> import wkmeans.transformers
>>> from transformers import AutoModelForCausalLM
>>> model = AutoModelForCausalLM.from_pretrained(folder)  # that `save_pretrained` wrote
"""

try:
    import transformers as _transformers  # noqa: F401
except ImportError as error:
    raise ImportError(
        "wkmeans.transformers needs transformers: pip install 'wkmeans[transformers]'"
    ) from error

from wkmeans.transformers._command import compress_folder
from wkmeans.transformers._config import WkmeansConfig
from wkmeans.transformers._folder import save_pretrained
from wkmeans.transformers._quantizer import WkmeansQuantizer
from wkmeans.transformers._texts import Sequences

__all__ = ["Sequences", "WkmeansConfig", "WkmeansQuantizer", "compress_folder", "save_pretrained"]
