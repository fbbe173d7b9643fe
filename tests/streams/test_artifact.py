"""An artifact comes back as it was saved, or not at all."""

import hashlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import skops.io
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from samestream.schemas.errors import ArtifactError
from samestream.streams.models import artifact as artifact_module
from samestream.streams.models.artifact import Artifact, load, save
from samestream.streams.models.estimator import dump_estimator, load_estimator


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1200, 4))
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, np.nan_to_num(x[:, 0]) + 0.5 * rng.normal(size=1200)


@pytest.fixture(scope="module")
def classifier(rows):
    x, y = rows
    return HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=0).fit(x, y > 0.5)


@pytest.fixture(scope="module")
def made(classifier):
    return Artifact(
        model="LateArrival",
        version="20130208T0000-3f2a",
        fingerprint="ab12",
        inputs=("carrier_delay", "excess_delay", "distance", "Ort µ"),
        output="probability",
        applies_from_us=1_360_281_600_000_000,
        manifest={"rows": 1200, "topics": ["flights.boarding"], "note": "line one\nline two"},
        metrics={"log_loss": 0.1 + 0.2},
        reference={"distance": {"bins": [1, 2], "nulls": None}},
        estimator=dump_estimator(classifier),
    )


def test_what_is_loaded_predicts_the_same_bits(made, rows, classifier, tmp_path):
    loaded = load(*save(made, tmp_path))
    assert loaded == made
    predictor = loaded.predictor()
    assert predictor is loaded.predictor()
    scores = predictor.predict(rows[0])
    assert scores.tobytes() == np.ascontiguousarray(classifier.predict_proba(rows[0])[:, 1]).tobytes()
    one_by_one = np.concatenate([predictor.predict(rows[0][i : i + 1]) for i in range(200)])
    assert one_by_one.tobytes() == scores[:200].tobytes()
    assert predictor.predict(np.empty((0, 4))).shape == (0,)
    with pytest.raises(
        ArtifactError, match=r"(?s)wrong input\nFound: shape \(2, 3\)\nExpected: \(rows, 4\).*carrier_delay"
    ):
        predictor.predict(np.zeros((2, 3)))


def test_a_regressor_gives_numbers(made, rows, tmp_path):
    x, y = rows
    model = HistGradientBoostingRegressor(max_iter=20, early_stopping=False).fit(x, y)
    loaded = load(*save(replace(made, output="number", estimator=dump_estimator(model)), tmp_path))
    assert loaded.predictor().predict(x).tobytes() == model.predict(x).tobytes()


def test_the_same_artifact_gives_the_same_bytes(made, rows, tmp_path):
    uri, digest = save(made, tmp_path / "one")
    again = save(made, str(tmp_path / "two"))
    assert again[1] == digest
    assert (tmp_path / "two/LateArrival-20130208T0000-3f2a.samestream").as_uri() == again[0]
    content = (tmp_path / "one/LateArrival-20130208T0000-3f2a.samestream").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert save(made, (tmp_path / "one").as_uri()) == (uri, digest)  # again in the same place
    assert load(str(tmp_path / "two/LateArrival-20130208T0000-3f2a.samestream"), digest) == made
    magic, header, _ = content.split(b"\n", 2)
    assert magic == b"samestream artifact 1"
    assert json.loads(header)["inputs"][3] == "Ort µ"


def test_the_same_training_gives_the_same_estimator_bytes(made, rows):
    x, y = rows
    refit = HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=0).fit(x, y > 0.5)
    assert dump_estimator(refit) == made.estimator


def test_an_artifact_is_never_replaced(made, tmp_path):
    uri, digest = save(made, tmp_path)
    with pytest.raises(ArtifactError, match=r"another artifact has this name\nHint: "):
        save(replace(made, fingerprint="cd34"), tmp_path)
    assert load(uri, digest) == made
    assert [path.suffix for path in tmp_path.iterdir()] == [".samestream"]


def test_an_altered_byte_is_refused_before_anything_is_parsed(made, tmp_path, monkeypatch):
    uri, digest = save(made, tmp_path)
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    monkeypatch.setattr(artifact_module.json, "loads", lambda *_: pytest.fail("parsed"))
    for at in (0, 30, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(ArtifactError, match=rf"(?s)wrong digest\nFound: \w+\nExpected: {digest}\nHint: "):
            load(uri, digest)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"(?s)an artifact cannot be read.*\nHint: ") as caught:
        load(uri, digest)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


class Boom:
    """Unpickling this ends the process."""

    def __reduce__(self):
        return (sys.exit, ("a pickle ran",))


def test_a_pickle_is_refused(made, tmp_path):
    for content in (pickle.dumps(Boom()), pickle.dumps({"a": 1})):
        loaded = load(*save(replace(made, version=str(len(content)), estimator=content), tmp_path))
        with pytest.raises(ArtifactError, match="the estimator is not a skops archive"):
            loaded.predictor()


def test_foreign_types_are_refused(made, classifier):
    def archive(obj):
        return skops.io.dumps(obj)

    with pytest.raises(ArtifactError, match=r"not to be trusted here\nFound: .*test_artifact.Boom"):
        load_estimator(archive({"x": Boom}), "probability")
    with pytest.raises(ArtifactError, match=r"Found: posix.system"):
        load_estimator(archive(FunctionTransformer(__import__("os").system)), "probability")
    with pytest.raises(ArtifactError, match=r"LogisticRegression for output probability"):
        load_estimator(archive(LogisticRegression()), "probability")
    with pytest.raises(ArtifactError, match=r"HistGradientBoostingClassifier for output number"):
        load_estimator(made.estimator, "number")
    classifier.hidden = Boom
    try:
        with pytest.raises(ArtifactError, match=r"Boom"):
            load_estimator(dump_estimator(classifier), "probability")
    finally:
        del classifier.hidden


def rewritten(content, change):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name == "schema.json" else old.read(name))
    return out.getvalue()


def test_an_estimator_of_another_scikit_learn_is_refused(made):
    from sklearn import __version__

    older = rewritten(made.estimator, lambda schema: schema.replace(f'\\"{__version__}\\"'.encode(), b'\\"1.2.3\\"'))
    with pytest.raises(
        ArtifactError, match=rf"another version of scikit-learn.*\nFound: 1.2.3\nExpected: {__version__}"
    ):
        load_estimator(older, "probability")
    damaged = rewritten(made.estimator, lambda schema: schema.replace(b"_predictors", b"_predictorz"))
    broken = replace(made, estimator=damaged)
    with pytest.raises(Exception):  # noqa: B017, PT011 - an archive by hand may fail late, but never quietly
        broken.predictor().predict(np.zeros((1, 4)))


def test_classes_and_categories_come_back(made, rows, tmp_path):
    x, y = rows
    model = HistGradientBoostingClassifier(max_iter=5, early_stopping=False).fit(x, np.digitize(y, [-1, 1]))
    classes = ("", "höher", "lower")
    chosen = replace(
        made, output="class", classes=classes, categories={"distance": ("a", "b")}, estimator=dump_estimator(model)
    )
    loaded = load(*save(chosen, tmp_path))
    assert loaded == chosen
    assert loaded.encoding.categorical == (2,)
    assert loaded.predictor().classes == classes
    assert loaded.predictor().chances(x).tobytes() == model.predict_proba(x).tobytes()
    assert loaded.predictor().chances(x[:0]).shape == (0, 3)
    assert loaded.predictor().predict(x[:0]).shape == (0,)


def test_an_estimator_must_fit_the_output_and_the_classes(made, rows):
    x, y = rows
    three = dump_estimator(
        HistGradientBoostingClassifier(max_iter=2, early_stopping=False).fit(x, np.digitize(y, [-1, 1]))
    )
    with pytest.raises(
        ArtifactError, match=r"does not fit the artifact's classes\nFound: an estimator of 3\nExpected: a, b"
    ):
        replace(made, output="class", classes=("a", "b"), estimator=three).predictor()
    with pytest.raises(
        ArtifactError, match=r"does not fit the artifact's classes\nFound: an estimator of 3\nExpected: 0 and"
    ):
        replace(made, estimator=three).predictor()
    shifted = HistGradientBoostingClassifier(max_iter=2, early_stopping=False).fit(x, 1 + (y > 0))
    with pytest.raises(ArtifactError, match="does not fit the artifact's classes"):
        replace(made, output="class", classes=("a", "b"), estimator=dump_estimator(shifted)).predictor()
    with pytest.raises(ArtifactError, match=r"HistGradientBoostingClassifier for output number"):
        replace(made, output="number").predictor()


@pytest.mark.parametrize(
    "change",
    [
        {"output": "colour"},
        {"output": "class"},
        {"classes": ["a", "b"]},
        {"output": "class", "classes": ["a"]},
        {"output": "class", "classes": ["b", "a"]},
        {"output": "class", "classes": ["a", "a"]},
        {"output": "class", "classes": [1, 2]},
        {"output": "class", "classes": None},
        {"categories": {"nothing": ["a"]}},
        {"categories": {"distance": ["b", "a"]}},
        {"categories": {"distance": "ab"}},
        {"categories": []},
        {"inputs": None},
    ],
)
def test_a_header_that_contradicts_itself_is_refused(made, change, tmp_path):
    save(made, tmp_path)
    (path,) = tmp_path.iterdir()
    magic, header, estimator = path.read_bytes().split(b"\n", 2)
    content = b"\n".join([magic, json.dumps(json.loads(header) | change).encode(), estimator])
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="not an artifact of this version"):
        load(str(path), hashlib.sha256(content).hexdigest())


def test_an_artifact_written_before_there_were_classes_is_read(made, tmp_path):
    save(made, tmp_path)
    (path,) = tmp_path.iterdir()
    magic, header, estimator = path.read_bytes().split(b"\n", 2)
    older = {name: value for name, value in json.loads(header).items() if name not in ("classes", "categories")}
    content = b"\n".join([magic, json.dumps(older).encode(), estimator])
    path.write_bytes(content)
    assert load(str(path), hashlib.sha256(content).hexdigest()) == made


def test_a_pipeline_of_other_steps_is_refused(rows):
    x, y = rows
    x = np.nan_to_num(x)
    for steps in (
        [FunctionTransformer(), LogisticRegression()],
        [StandardScaler(), Pipeline([("a", StandardScaler()), ("b", DummyClassifier())])],
        [StandardScaler(), DummyClassifier()],
        [StandardScaler()],
    ):
        pipeline = Pipeline([(str(number), step) for number, step in enumerate(steps)]).fit(x, y > 0)
        with pytest.raises(ArtifactError, match="not to be trusted here"):
            load_estimator(dump_estimator(pipeline), "probability")
    good = Pipeline([("a", StandardScaler()), ("b", LogisticRegression())]).fit(x, y > 0)
    assert load_estimator(dump_estimator(good), "probability").predict_proba(x).shape == (1200, 2)
    with pytest.raises(ArtifactError, match=r"Pipeline for output number"):
        load_estimator(dump_estimator(good), "number")


def test_an_artifact_must_fit_its_inputs_and_json(made, tmp_path):
    with pytest.raises(ArtifactError, match=r"Found: 4 inputs\nExpected: 1: distance"):
        replace(made, inputs=("distance",)).predictor()
    with pytest.raises(ArtifactError, match="cannot be written as JSON"):
        save(replace(made, metrics={"auc": float("nan")}), tmp_path)
    with pytest.raises(ArtifactError, match="not a file name"):
        save(replace(made, model="../Late"), tmp_path)
    other = b"samestream artifact 2\n{}\n"
    (tmp_path / "x").write_bytes(other)
    with pytest.raises(ArtifactError, match="not an artifact of this version"):
        load(str(tmp_path / "x"), hashlib.sha256(other).hexdigest())
    for header in (b"[]", b"{}", b"{", b"7"):
        content = b"samestream artifact 1\n" + header + b"\n"
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ArtifactError, match="not an artifact of this version"):
            load(str(tmp_path / "x"), hashlib.sha256(content).hexdigest())


def test_reading_artifacts_loads_no_scikit_learn():
    program = (
        "import sys, samestream.streams.models.artifact; sys.exit('sklearn' in sys.modules or 'skops' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
