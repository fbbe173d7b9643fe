"""The artifact: all a scorer needs of a trained model, in one file that a digest in the models topic names.

The file is three things in a row, so that ``head -n 2`` shows what it is::

    samestream artifact 1\\n
    {"applies_from_us":...,"model":"LateArrival",...}\\n     one line of JSON
    <the estimator as a skops archive, to the end>

Loading runs no code that came with the file: the digest is checked before a byte is parsed, the estimator is data in
the skops format (never a pickle), and only types listed here are built from it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samestream.schemas.errors import ArtifactError
from samestream.streams.storage import Storage

Float64Array = NDArray[np.float64]

_MAGIC = b"samestream artifact 1\n"
_TREES = "sklearn.ensemble._hist_gradient_boosting"
ESTIMATORS = {
    f"{_TREES}.gradient_boosting.HistGradientBoostingClassifier": "probability",
    f"{_TREES}.gradient_boosting.HistGradientBoostingRegressor": "number",
}
"""What an artifact's outermost object may be, and what it gives; anything else is refused."""
TRUSTED_TYPES = [f"{_TREES}.predictor.TreePredictor"]
"""Types inside it beyond those skops trusts by itself; as `skops.io.get_untrusted_types` names them."""


class Predictor:
    """A model in memory. Rows do not influence each other: any split of them gives the same bits."""

    def __init__(self, estimator: Any, inputs: tuple[str, ...], output: Literal["probability", "number"]) -> None:
        from threadpoolctl import ThreadpoolController

        self._estimator, self._inputs, self._output = estimator, inputs, output
        self._threads = ThreadpoolController()

    def predict(self, x: Float64Array) -> Float64Array:
        """Return one score per row: the probability of 1, or a number in the label's unit.

        x : shape (rows, inputs), columns in the order of the artifact's `inputs`, NaN for null.
        Raises ArtifactError for another number of columns.
        """
        if x.ndim != 2 or x.shape[1] != len(self._inputs):
            hint = f"Give the columns {', '.join(self._inputs)}, in this order."
            raise ArtifactError(
                "wrong input", found=f"shape {x.shape}", expected=f"(rows, {len(self._inputs)})", hint=hint
            )
        if not len(x):
            return np.empty(0, np.float64)
        # One thread: for a scorer's few rows waking a pool costs more than it saves, and the engine needs the other cores.
        with self._threads.limit(limits=1, user_api="openmp"):
            if self._output == "probability":
                scores = self._estimator.predict_proba(x)[:, 1]
            else:
                scores = self._estimator.predict(x)
        return np.ascontiguousarray(scores, np.float64)


@dataclass(frozen=True)
class Artifact:
    """A trained model with what is needed to use, compare and monitor it.

    model, version : its name, and which training of it; both become part of the file's name.
    fingerprint : of the declaration it was trained for; a scorer with another one must refuse it.
    inputs : names of the input columns, in order.
    applies_from_us : known time (us since 1970, UTC) from which it scores.
    manifest : how the training set was made. metrics : finite numbers. reference : the profile monitors compare with.
    All three must survive JSON: text keys, no tuples, no NaN.
    estimator : a skops archive, as `dump_estimator` makes it.
    """

    model: str
    version: str
    fingerprint: str
    inputs: tuple[str, ...]
    output: Literal["probability", "number"]
    applies_from_us: int
    manifest: Mapping[str, Any]
    metrics: Mapping[str, float]
    reference: Mapping[str, Any]
    estimator: bytes

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
        return Predictor(estimator, self.inputs, self.output)


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
        if not isinstance(fields, dict) or set(fields) != set(_HEADER) or fields["output"] not in ESTIMATORS.values():
            raise ValueError(f"its header is {header[:200]!r}")
        return Artifact(**{**fields, "inputs": tuple(fields["inputs"])}, estimator=estimator)
    except (TypeError, ValueError) as error:
        hint = "Publish artifacts that samestream.streams.artifact.save of this version has written."
        raise ArtifactError("not an artifact of this version", where=uri, found=error, hint=hint) from error


_HEADER = [name for name in Artifact.__dataclass_fields__ if name != "estimator"]


def dump_estimator(estimator: Any) -> bytes:
    """Return an estimator as a skops archive, the same bytes for the same estimator.

    skops names the parts by memory addresses and stamps them with the wall clock; here they are counted and undated.
    """
    import skops.io

    numbers: dict[str, str] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, list):
            return [renumber(item) for item in node]
        if not isinstance(node, dict):
            return node
        changed = {name: renumber(value) for name, value in node.items()}
        if isinstance(address := node.get("__id__"), int):
            number = numbers.setdefault(str(address), str(len(numbers)))
            changed["__id__"] = int(number)
            if isinstance(file := node.get("file"), str) and file.partition(".")[0] == str(address):
                changed["file"] = number + file[len(str(address)) :]
        return changed

    undated = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator))) as old,
        zipfile.ZipFile(undated, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        schema = json.dumps(renumber(json.loads(old.read("schema.json")))).encode()
        for name in old.namelist():
            stem, dot, kind = name.partition(".")
            member = zipfile.ZipInfo(numbers.get(stem, stem) + dot + kind)  # dated 1980 unless told otherwise
            member.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(member, schema if name == "schema.json" else old.read(name))
    return undated.getvalue()


def load_estimator(content: bytes, output: Literal["probability", "number"]) -> Any:
    """Return the estimator in a skops archive, if every type in it is expected and it gives `output`.

    Raises ArtifactError otherwise, and if another scikit-learn wrote it, whose trees may mean something else here.
    """
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            root = json.loads(archive.read("schema.json"))
        name = f"{root['__module__']}.{root['__class__']}"
        foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
    except Exception as error:  # whatever a hostile archive can provoke
        hint = "Only archives written by dump_estimator are read; a pickle never is."
        raise ArtifactError("the estimator is not a skops archive", found=repr(error), hint=hint) from error
    if foreign or ESTIMATORS.get(name) != output:
        raise ArtifactError(
            "the estimator holds types that are not to be trusted here",
            found=", ".join(foreign) or f"{name} for output {output}",
            expected=", ".join(ESTIMATORS),
            hint="If you did not train this model yourself, find out who published it. A scorer runs no foreign types.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return skops.io.loads(content, trusted=TRUSTED_TYPES)
    except InconsistentVersionWarning as error:
        raise ArtifactError(
            "another version of scikit-learn wrote the estimator",
            found=error.original_sklearn_version,
            expected=error.current_sklearn_version,
            hint="Install the version it was trained with, or train and publish it again with this one.",
        ) from error
    except Exception as error:
        hint = "Train the model again; the archive is damaged or was made by hand."
        raise ArtifactError("the estimator cannot be built", found=repr(error), hint=hint) from error
