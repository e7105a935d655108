from typing import Any

import numpy as np
import numpy.typing as npt

TypedArray = tuple[npt.NDArray[Any], str]

class InvalidValue(ValueError): ...
class CostOverflow(OverflowError): ...

class Problems:
    def __init__(
        self,
        weights: TypedArray,
        importance: TypedArray | None,
        quartic_importance: TypedArray | None,
        axis: int | None,
        entry: str,
    ) -> None: ...
    @property
    def n_problems(self) -> int: ...
    @property
    def n_items(self) -> int: ...

class ClusterOptions:
    def __init__(
        self,
        *,
        k: int,
        solver: str,
        init: str,
        given_centroids: list[float],
        max_iter: int,
        seed: int,
        certify: bool,
        centroid_format: str,
        optimal_in_format: bool,
        include_zero: bool,
        n_threads: int,
        reading: str | None = None,
        search: str | None = None,
    ) -> None: ...

def route_of(problems: Problems, options: ClusterOptions) -> dict[str, Any]: ...
def cluster(
    problems: Problems, options: ClusterOptions, label_dtype: str
) -> tuple[
    npt.NDArray[np.float64],
    npt.NDArray[Any],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
]: ...
def label_nearest(
    problems: Problems, centroids: npt.NDArray[np.float64], label_dtype: str, n_threads: int
) -> npt.NDArray[Any]: ...
def label_thresholds(centroids: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]: ...
def cost_curve(
    problems: Problems, k_max: int, include_zero: bool, centroid_format: str, n_threads: int
) -> npt.NDArray[np.float64]: ...
def entropy_constrained(
    problems: Problems,
    centroids: list[float],
    lengths: list[float],
    multiplier: float,
    include_zero: bool,
    max_iter: int,
    label_dtype: str,
    n_threads: int,
) -> tuple[list[float], npt.NDArray[Any], list[int], float, int]: ...
def prune(problems: Problems, keep: int, n_threads: int) -> npt.NDArray[np.bool_]: ...
def prune_together(
    problems: list[Problems], keep: int, n_threads: int
) -> list[npt.NDArray[np.bool_]]: ...
def prune_pattern(
    problems: Problems, keep: int, group: int, n_threads: int
) -> npt.NDArray[np.bool_]: ...
def active_isa() -> str: ...

FactorArray = tuple[npt.NDArray[Any], int]

def add_squared_products(
    left: FactorArray,
    right: FactorArray,
    signs: npt.NDArray[Any] | None,
    reduction: str,
    scale: float,
    totals: npt.NDArray[np.float64],
    n_threads: int,
) -> None: ...
def cholesky(matrix: npt.NDArray[np.float64], n_threads: int) -> int | None: ...

class FeedbackFactor:
    def __init__(self, lower: npt.NDArray[np.float64], n_threads: int) -> None: ...

def feed_back_on_lattice(
    factor: FeedbackFactor,
    weights: npt.NDArray[np.float64],
    row_steps: npt.NDArray[np.float64],
    column_steps: npt.NDArray[np.float64],
    block: int,
    row_coefficients: npt.NDArray[np.float64] | None,
    n_threads: int,
) -> tuple[
    npt.NDArray[np.int32],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
]: ...

class ImportanceMatrices:
    def __init__(
        self, values: npt.NDArray[np.float64], lower: npt.NDArray[np.float64], n_threads: int
    ) -> None: ...

def label_by_feedback(
    matrices: ImportanceMatrices,
    weights: npt.NDArray[np.float64],
    codebooks: npt.NDArray[np.float64],
    n_threads: int,
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]: ...
def label_costs(
    matrices: ImportanceMatrices,
    weights: npt.NDArray[np.float64],
    codebooks: npt.NDArray[np.float64],
    labels: npt.NDArray[np.uint16],
    n_threads: int,
) -> npt.NDArray[np.float64]: ...
def descend_labels(
    matrices: ImportanceMatrices,
    weights: npt.NDArray[np.float64],
    codebooks: npt.NDArray[np.float64],
    sweeps: int,
    labels: npt.NDArray[np.uint16],
    n_threads: int,
) -> npt.NDArray[np.float64]: ...
def descend_coupled_labels(
    matrices: ImportanceMatrices,
    coupling: npt.NDArray[np.float64],
    codebook: npt.NDArray[np.float64],
    sweeps: int,
    labels: npt.NDArray[np.uint16],
    products: npt.NDArray[np.float64],
    own: npt.NDArray[np.float64],
) -> None: ...
def refit_codebooks(
    matrices: ImportanceMatrices,
    weights: npt.NDArray[np.float64],
    codebooks: npt.NDArray[np.float64],
    labels: npt.NDArray[np.uint16],
    importances: npt.NDArray[np.float64],
    zero_stays: bool,
    n_threads: int,
) -> npt.NDArray[np.float64]: ...
def round_to_format(
    values: npt.NDArray[np.float64], format: str, scales: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]: ...

class PackedMatrix:
    def __init__(
        self,
        codes: npt.NDArray[np.uint8],
        rows: int,
        columns: int,
        bits: int,
        tables: npt.NDArray[np.uint8],
        type: str,
        group: int,
        is_shared: bool,
    ) -> None: ...
    def multiply(
        self, inputs: npt.NDArray[np.float32], n_threads: int
    ) -> npt.NDArray[np.float32]: ...

def encode_codes(
    codes: npt.NDArray[Any],
    row_classes: npt.NDArray[np.int32],
    column_classes: npt.NDArray[np.int32],
    columns: int,
    shift: int,
    chunk: int,
    block: int,
    low: int,
    first: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    n_threads: int,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]: ...
def decode_codes(
    words: npt.NDArray[np.uint32],
    ends: npt.NDArray[np.int64],
    row_classes: npt.NDArray[np.int32],
    column_classes: npt.NDArray[np.int32],
    columns: int,
    shift: int,
    chunk: int,
    block: int,
    low: int,
    first: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    dtype: str,
    n_threads: int,
) -> npt.NDArray[Any] | None: ...
def encode_adaptively(
    integers: npt.NDArray[np.int32],
    row_spread: npt.NDArray[np.int32],
    column_spread: npt.NDArray[np.int32],
    block: int,
) -> npt.NDArray[np.uint32]: ...
def decode_adaptively(
    words: npt.NDArray[np.uint32],
    row_spread: npt.NDArray[np.int32],
    column_spread: npt.NDArray[np.int32],
    block: int,
) -> npt.NDArray[np.int32] | None: ...
def unpack_codes(
    packed: npt.NDArray[np.uint8], size: int, bits: int, k: int, dtype: str, n_threads: int
) -> npt.NDArray[Any] | None: ...
def look_up(
    labels: npt.NDArray[Any],
    is_transposed: bool,
    tables: npt.NDArray[Any],
    group: int,
    n_threads: int,
) -> npt.NDArray[Any]: ...
def look_up_scaled(
    labels: npt.NDArray[Any],
    table: npt.NDArray[np.float64],
    row_scales: npt.NDArray[np.float64],
    column_scales: npt.NDArray[np.float64],
    dtype: str,
    n_threads: int,
) -> npt.NDArray[Any]: ...
