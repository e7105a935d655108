"""Folders of miniature models with tokenizers made on the spot, and texts for them."""

from __future__ import annotations

import numpy as np
from miniatures import miniature
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = [f"word{number}" for number in range(92)]


def tokenizer():
    """One token a word, 96 in all, and ``<s>`` in front of every text."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {word: token for token, word in enumerate(special + WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )


def text(words, seed=0):
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def model_folder(architecture, path):
    """A miniature model and its tokenizer, saved as transformers saves them."""
    model = miniature(architecture)
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return model
