"""Features to numbers: numbers as they are, texts by their place among those that training saw."""

import numpy as np

from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.models.encoding import MOST_CATEGORIES, Encoding


def features(texts, numbers):
    return {"word": cols.from_values(texts, Kind.STRING), "count": cols.from_values(numbers, Kind.INT)}


def test_a_text_becomes_its_place_and_what_is_missing_or_unseen_nothing():
    seen = features(["b", None, "a\0", "", "b"], [1, 2, None, 4, 5])
    encoding = Encoding.learned(seen)
    assert encoding.inputs == ("word", "count")
    assert encoding.categories == {"word": ("", "a\0", "b")}
    assert encoding.categorical == (0,)
    np.testing.assert_array_equal(encoding.matrix(seen), [[2, 1], [np.nan, 2], [1, np.nan], [0, 4], [2, 5]])
    np.testing.assert_array_equal(encoding.matrix(features(["a", "b"], [7, None])), [[np.nan, 7], [2, np.nan]])


def test_of_many_texts_the_most_frequent_are_kept_in_order():
    words = [f"{number:04}" for number in range(2 * MOST_CATEGORIES)]
    encoding = Encoding.learned(features(words + words[-3:], [1] * (len(words) + 3)))
    assert encoding.categories["word"] == (*words[: MOST_CATEGORIES - 3], *words[-3:])


def test_conditions_and_no_rows_at_all():
    learned = Encoding.learned({"is": cols.from_values([True, None], Kind.BOOL), **features([None, None], [1, 2])})
    assert learned.categories == {"word": ()}
    found = learned.matrix({"is": cols.from_values([True, None], Kind.BOOL), **features(["a", None], [1, 2])})
    np.testing.assert_array_equal(found, [[1, np.nan, 1], [np.nan, np.nan, 2]])
    empty = {name: cols.empty(kind) for name, kind in (("is", Kind.BOOL), ("word", Kind.STRING), ("count", Kind.INT))}
    assert learned.matrix(empty).shape == (0, 3)
