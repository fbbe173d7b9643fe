"""Estimators as data: a skops archive in which only known types are built, never a pickle.

Loading runs no code that came with the file. Every scikit-learn type inside must be one that the trainers of samestream
make; everything else is left to what skops itself trusts.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from typing import Any

from samestream.schemas.errors import ArtifactError
from samestream.schemas.outputs import Output

_TREES = "sklearn.ensemble._hist_gradient_boosting"
_LINEAR = "sklearn.linear_model"
PIPELINE = "sklearn.pipeline.Pipeline"
ESTIMATORS: dict[str, tuple[Output, ...]] = {
    f"{_TREES}.gradient_boosting.HistGradientBoostingClassifier": ("probability", "class"),
    f"{_TREES}.gradient_boosting.HistGradientBoostingRegressor": ("number",),
}
"""What an archive's outermost object may be besides a pipeline, and what it can give; anything else is refused."""
LAST_STEPS: dict[str, tuple[Output, ...]] = {
    f"{_LINEAR}._logistic.LogisticRegression": ("probability", "class"),
    f"{_LINEAR}._ridge.Ridge": ("number",),
}
"""What a pipeline may end in."""
STEPS = {
    PIPELINE,
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.impute._base.SimpleImputer",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._encoders.OneHotEncoder",
}
"""What may stand before it."""
TRUSTED_TYPES = [
    f"{_TREES}.predictor.TreePredictor",
    "numpy.dtype",
    # boosting over categories checks its input by a partial call of this very function
    "functools.partial",
    "sklearn.utils.validation.check_array",
]
"""Types inside it beyond those skops trusts by itself; as `skops.io.get_untrusted_types` names them."""


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


def load_estimator(content: bytes, output: Output) -> Any:
    """Return the estimator in a skops archive, if every type in it is expected and it gives `output`.

    Raises ArtifactError otherwise, and if another scikit-learn wrote it, whose trees may mean something else here.
    """
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            root = json.loads(archive.read("schema.json"))
        name = _name(root)
        foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
        outputs = _outputs(name, _types(root) - {name})
    except Exception as error:  # whatever a hostile archive can provoke
        hint = "Only archives written by dump_estimator are read; a pickle never is."
        raise ArtifactError("the estimator is not a skops archive", found=repr(error), hint=hint) from error
    if foreign or output not in outputs:
        raise ArtifactError(
            "the estimator holds types that are not to be trusted here",
            found=", ".join(foreign) or f"{name} for output {output}",
            expected=", ".join([*ESTIMATORS, *LAST_STEPS]),
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


def _name(node: Any) -> str:
    return f"{node['__module__']}.{node['__class__']}"


def _types(node: Any) -> set[str]:
    """The scikit-learn types in a part of an archive's description."""
    found: set[str] = set()
    if isinstance(node, dict):
        if str(node.get("__module__", "")).split(".")[0] == "sklearn":
            found.add(_name(node))
        for part in node.values():
            found |= _types(part)
    elif isinstance(node, list):
        for part in node:
            found |= _types(part)
    return found


def _outputs(outermost: str, inside: set[str]) -> tuple[Output, ...]:
    """What an estimator of these types can give; nothing if they are not put together as a trainer does."""
    if outermost != PIPELINE:
        return ESTIMATORS.get(outermost, ())
    last = inside - STEPS
    return LAST_STEPS.get(last.pop(), ()) if len(last) == 1 else ()
