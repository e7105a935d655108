from collections.abc import Callable

from wkmeans import _core

class BadValue(ValueError): ...

class Operand:
    def __init__(self, address: int, dtype: str, problem_stride: int, item_stride: int) -> None: ...

class Batch:
    def __init__(
        self,
        n_problems: int,
        n_items: int,
        weights: Operand,
        importance: Operand | None,
        quartic_importance: Operand | None,
    ) -> None: ...
    @property
    def n_problems(self) -> int: ...
    @property
    def n_items(self) -> int: ...

class Results:
    def __init__(
        self,
        centroids: int,
        labels: int,
        label_dtype: str,
        scales: int,
        costs: int,
        lower_bounds: int,
        n_iters: int,
    ) -> None: ...

class Queue:
    def __init__(self, stream: int, allocate: Callable[[int], tuple[object, int]]) -> None: ...

class ClusterOptions(_core.ClusterOptions): ...

def cluster(queue: Queue, batch: Batch, options: ClusterOptions, results: Results) -> None: ...
def cost_curve(
    queue: Queue,
    batch: Batch,
    k_max: int,
    include_zero: bool,
    centroid_format: str,
    n_threads: int,
    costs: int,
) -> None: ...
def prune(queue: Queue, batch: Batch, keep: int, mask: int) -> None: ...
def prune_together(queue: Queue, batches: list[Batch], keep: int, masks: list[int]) -> None: ...
def prune_pattern(queue: Queue, batch: Batch, keep: int, group: int, mask: int) -> None: ...
