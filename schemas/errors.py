"""Every error samestream raises on purpose, in one tree.

A message says what is wrong, where, what was found, what was expected, and ends with a line ``Hint:`` saying what to do.
"""

from __future__ import annotations

from typing import Any


class SamestreamError(Exception):
    """Root of the tree: catch this to catch everything samestream raises on purpose."""

    def __init__(
        self, what: str, *, where: str = "", found: object = None, expected: object = None, hint: str = ""
    ) -> None:
        self.what, self.where, self.found, self.expected, self.hint = what, where, found, expected, hint
        super().__init__("\n".join(self._parts()))

    @property
    def line(self) -> str:
        """The message on one line, as the command line prints it: its parts end with a stop."""
        *parts, last = (" ".join(part.split()) for part in self._parts())
        return " ".join([*(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts), last])

    def _parts(self) -> list[str]:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.found is not None:
            parts.append(f"Found: {self.found}")
        if self.expected is not None:
            parts.append(f"Expected: {self.expected}")
        if self.hint:
            parts.append(f"Hint: {self.hint}")
        return parts


class DeclarationError(SamestreamError):
    """A class of events, features, models or monitors is declared wrongly; raised when its module is imported."""


class ValueRefusedError(DeclarationError):
    """An event is made with a value that its declaration does not allow, or without one that it needs."""


class SettingsError(SamestreamError):
    """A setting or command-line option has no meaning here."""


class SchemaError(SamestreamError):
    """Bytes, a schema or a fingerprint do not fit the declaration."""


class ChangeRefusedError(SamestreamError):
    """A declaration would break what is deployed, or the log; nothing of it was applied."""


class TransportError(SamestreamError):
    """The broker refused, vanished or answered with something unexpected."""


class DeliveryError(TransportError):
    """Events that were handed over could not be delivered. `undelivered` names them all, each with its cause."""

    undelivered: tuple[Any, ...] = ()


class RegistryError(TransportError):
    """The schema registry refused a schema, vanished or answered with something unexpected."""


class FencedError(TransportError):
    """Another process with the same identity has taken over; this one must stop."""


class BrokerError(SamestreamError):
    """The local broker could not be fetched, started, found or stopped."""


class BrokerUnavailableError(BrokerError):
    """Neither a Kafka nor what it runs on can be fetched: no network, no mirror, no Java."""


class RecoveryError(SamestreamError):
    """State cannot be rebuilt from the journal and the log."""


class StateLimitError(SamestreamError):
    """State would take more memory than is allowed."""


class FeatureLogError(SamestreamError):
    """The Parquet log is missing, torn or of another shape."""


class TrainingError(SamestreamError):
    """A model cannot be trained from what the log holds."""


class ArtifactError(SamestreamError):
    """A model artifact is missing, altered or not to be trusted."""


class ExpectationError(SamestreamError, AssertionError):
    """A test of an app found something else than it expected."""


class EmptyWindowError(SamestreamError):
    """A statistic was asked of no values."""
