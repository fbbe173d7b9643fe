"""The artifact: all a scorer needs of a trained model, in one file that a digest in the models topic names.

The file is three things in a row, so that ``head -n 2`` shows what it is::

    samestream artifact 1\\n
    {"applies_from_us":...,"model":"LateArrival",...}\\n     one line of JSON
    <the estimator as a skops archive, to the end>

Loading runs no code that came with the file: the digest is checked before a byte is parsed, the estimator is data in
the skops format (never a pickle), and only types listed in `streams.models.estimator` are built from it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from samestream.schemas.errors import ArtifactError
from samestream.schemas.outputs import Output
from samestream.streams.models.encoding import Encoding
from samestream.streams.models.estimator import load_estimator
from samestream.streams.models.predictor import Predictor
from samestream.streams.storage import Storage

_MAGIC = b"samestream artifact 1\n"


@dataclass(frozen=True)
class Artifact:
    """A trained model with what is needed to use, compare and monitor it.

    model, version : its name, and which training of it; both become part of the file's name.
    fingerprint : of the declaration it was trained for; a scorer with another one must refuse it.
    inputs : names of the input columns, in order.
    applies_from_us : known time (us since 1970, UTC) from which it scores.
    manifest : how the training set was made. metrics : finite numbers. reference : the profile monitors compare with.
    All three must survive JSON: text keys, no tuples, no NaN.
    estimator : a skops archive, as `streams.models.estimator.dump_estimator` makes it.
    categories : for inputs that are text, what training saw of each, in order.
    classes : where the output is a class, the classes that training saw, in order; the only ones it can predict.
    """

    model: str
    version: str
    fingerprint: str
    inputs: tuple[str, ...]
    output: Output
    applies_from_us: int
    manifest: Mapping[str, Any]
    metrics: Mapping[str, float]
    reference: Mapping[str, Any]
    estimator: bytes
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    @property
    def encoding(self) -> Encoding:
        """How vectors become the predictor's rows."""
        return Encoding(self.inputs, self.categories)

    def predictor(self) -> Predictor:
        """Return the model ready to score, loading it the first time; ArtifactError if it is not to be trusted."""
        return self._predictor

    @cached_property
    def _predictor(self) -> Predictor:
        estimator = load_estimator(self.estimator, self.output)
        if estimator.n_features_in_ != len(self.inputs):
            raise ArtifactError(
                "the estimator does not fit the artifact's inputs",
                where=f"{self.model} {self.version}",
                found=f"{estimator.n_features_in_} inputs",
                expected=f"{len(self.inputs)}: {', '.join(self.inputs)}",
                hint="Train the model again.",
            )
        outcomes = range(2 if self.output == "probability" else len(self.classes))
        if self.output != "number" and list(estimator.classes_) != list(outcomes):
            raise ArtifactError(
                "the estimator does not fit the artifact's classes",
                where=f"{self.model} {self.version}",
                found=f"an estimator of {len(estimator.classes_)}",
                expected=", ".join(self.classes) or "0 and 1",
                hint="Train the model again.",
            )
        return Predictor(estimator, self.inputs, self.output, self.classes)


def save(artifact: Artifact, folder: str | Path) -> tuple[str, str]:
    """Write `<model>-<version>.samestream` into a folder (path or URI), in one step; return its URI and SHA-256.

    The same artifact always gives the same bytes, and saving it again changes nothing.
    Raises ArtifactError if the name is taken by another content, or the artifact does not survive JSON.
    """
    where = f"{artifact.model}-{artifact.version}"
    if not re.fullmatch(r"\w[\w.+-]*-\w[\w.+-]*", where, re.ASCII):
        raise ArtifactError("not a file name", found=repr(where), hint="Use letters, digits and _ . + - only.")
    header = {name: getattr(artifact, name) for name in _HEADER}
    try:
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        hint = "Give manifest, metrics and reference as dicts, lists, text and finite numbers."
        raise ArtifactError("an artifact cannot be written as JSON", where=where, found=error, hint=hint) from error
    content = _MAGIC + text.encode() + b"\n" + artifact.estimator
    storage = Storage(folder)
    path = f"{storage.root}/{where}.samestream"
    if not storage.create(path, content) and storage.read(path) != content:
        hint = "An artifact is never replaced, because published digests name it. Give this training another version."
        raise ArtifactError("another artifact has this name", where=path, hint=hint)
    if storage.is_local:
        uri = Path(path).as_uri()
    else:
        address, mark, options = str(folder).partition("?")
        uri = f"{address.rstrip('/')}/{where}.samestream{mark}{options}"
    return uri, hashlib.sha256(content).hexdigest()


def load(uri: str, digest: str) -> Artifact:
    """Read an artifact from a URI or local path, if its SHA-256 is `digest` (hexadecimal).

    Raises ArtifactError if it is missing, has another digest (found out before anything is parsed), or is malformed.
    """
    try:
        storage = Storage(uri)
        content = storage.read(storage.root)
    except (OSError, ValueError) as error:
        hint = "The models topic names this file: restore it, or publish another version of the model."
        raise ArtifactError("an artifact cannot be read", where=uri, found=error, hint=hint) from error
    if (found := hashlib.sha256(content).hexdigest()) != digest:
        hint = "The file was altered after it was published, and is not used. Restore it, or publish another version."
        raise ArtifactError("an artifact has the wrong digest", where=uri, found=found, expected=digest, hint=hint)
    try:
        magic, header, estimator = content.split(b"\n", 2)
        if magic + b"\n" != _MAGIC:
            raise ValueError(f"it begins with {magic[:40]!r}")
        fields = json.loads(header)
        # those written before there were categories and classes have neither
        fields = {"categories": {}, "classes": [], **fields} if isinstance(fields, dict) else {}
        if set(fields) != set(_HEADER) or not _is_sound(fields):
            raise ValueError(f"its header is {header[:200]!r}")
        fields["categories"] = {name: tuple(found) for name, found in fields["categories"].items()}
        fields |= {name: tuple(fields[name]) for name in ("inputs", "classes")}
        return Artifact(**fields, estimator=estimator)
    except (TypeError, ValueError, AttributeError) as error:
        hint = "Publish artifacts that samestream.streams.models.artifact.save of this version has written."
        raise ArtifactError("not an artifact of this version", where=uri, found=error, hint=hint) from error


_HEADER = [name for name in Artifact.__dataclass_fields__ if name != "estimator"]


def _is_sound(fields: Mapping[str, Any]) -> bool:
    """Whether output, classes and categories of a header fit together."""
    lists = [fields["classes"], *fields["categories"].values()]
    texts = all(isinstance(part, list) and all(isinstance(text, str) for text in part) for part in lists)
    ordered = texts and all(part == sorted(set(part)) for part in lists)
    known = fields["output"] in get_args(Output) and set(fields["categories"]) <= set(fields["inputs"])
    return known and ordered and (len(fields["classes"]) >= 2) == (fields["output"] == "class")
