"""Every kind of tensor that a file may hold, by name; a reader refuses names it does not know.

A new coding is a new entry here, in a file of its own: what it holds, its members in the
description, its arrays in the payload, and how to read both back.
"""

from wkmeans.compression.format.kinds.codebook import CODEBOOK
from wkmeans.compression.format.kinds.dense import DENSE
from wkmeans.compression.format.kinds.kind import Kind
from wkmeans.compression.format.kinds.lattice import LATTICE
from wkmeans.compression.format.kinds.rounded import ROUNDED

# What is rounded is dense too, and a lattice is a codebook too, so they are asked first.
KINDS: tuple[Kind, ...] = (ROUNDED, DENSE, LATTICE, CODEBOOK)

__all__ = ["KINDS", "Kind"]
