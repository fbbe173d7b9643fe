"""What a model gives: a probability, a number or a class, as the kind of its label says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from samestream.schemas.expressions import Kind

Output = Literal["probability", "number", "class"]

OUTPUTS: Mapping[Kind, Output] = {
    Kind.BOOL: "probability",
    Kind.INT: "number",
    Kind.FLOAT: "number",
    Kind.STRING: "class",
}
"""By kind of label; of other kinds there are no models. The same kinds can be inputs."""
