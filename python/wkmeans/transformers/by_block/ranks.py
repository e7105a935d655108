"""One run on the ranks of a torch.distributed group: work is shared out, the first one writes.

All ranks go through the same steps, so that none waits for what another one left out: whether a
file is there is asked of the first rank, and files lie where all of them read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wkmeans._ranks import map_over_ranks

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ranks:
    """Those of a group; without one, this process alone."""

    group: ProcessGroup | None = None

    @property
    def number(self) -> int:
        if self.group is None:
            return 1
        from torch import distributed

        return distributed.get_world_size(self.group)

    @property
    def is_first(self) -> bool:
        if self.group is None:
            return True
        from torch import distributed

        return distributed.get_rank(self.group) == 0

    def share(
        self,
        function: Callable[[int], Result],
        items: Iterable[int],
        size: Callable[[int], int] = lambda _: 1,
    ) -> list[Result]:
        """``[function(item) for item in items]``, each computed by one rank and known to all."""
        named = {str(item): item for item in items}
        sizes = {name: size(item) for name, item in named.items()}
        found = map_over_ranks(lambda _, item: function(item), named, sizes, self.group)
        return list(found.values())

    def first(self, action: Callable[[], object]) -> None:
        """Do this on the first rank; once it is done all go on.

        ``RuntimeError`` on the others where it fails.
        """

        def act(_: int) -> None:
            action()

        self.share(act, [0])  # of one thing to do the first rank does it

    def exists(self, path: Path) -> bool:
        """Whether a file is there, as the first rank sees it."""
        return self.share(lambda _: path.exists(), [0])[0]
