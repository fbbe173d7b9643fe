"""A bound on what the state of a processor may take, so that it is refused in words before memory runs out."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from samestream.schemas.errors import StateLimitError


class StateLimit:
    """Bytes that several holders of state may set aside together, also while they copy to larger arrays.

    limit_bytes : None for as much as there is.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self._held: WeakKeyDictionary[object, int] = WeakKeyDictionary()

    @property
    def held_bytes(self) -> int:
        """What all holders have set aside."""
        return sum(self._held.values())

    def note(self, holder: object, held_bytes: int) -> None:
        """Note what a holder has set aside in all."""
        self._held[holder] = held_bytes

    def more(self, wished_bytes: int, needed_bytes: int, what: str) -> int:
        """Return how many bytes more a holder may set aside: what it wishes, or what is left if that is enough.

        what : who asks, as the message names it.
        Raises StateLimitError if less is left than needed.
        """
        if self.limit_bytes is None:
            return wished_bytes
        left = self.limit_bytes - self.held_bytes
        if left < needed_bytes:
            raise StateLimitError(
                "The state of the features has outgrown its limit.",
                where=what,
                found=f"{self.held_bytes:,} bytes held, {needed_bytes:,} more needed",
                expected=f"at most {self.limit_bytes:,} bytes",
                hint="Nothing is lost: allow more and start again, it goes on where it stopped. Or let it need less: "
                "shorter windows, larger tiles, fewer keys; a lifetime window keeps every key for good.",
            )
        return min(wished_bytes, left)
