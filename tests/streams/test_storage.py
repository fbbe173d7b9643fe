"""Places that cannot be reached: the cause is told, and nothing of the address that may be secret."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from samestream.schemas.errors import SettingsError
from samestream.streams import storage
from samestream.streams.storage import Storage


def test_the_cause_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(uri: str) -> None:
        raise OSError(f"When resolving region for bucket 'b': no host in {uri}, user me, key se/cret\nand more")

    monkeypatch.setattr(storage, "pafs", SimpleNamespace(FileSystem=SimpleNamespace(from_uri=refused)))
    with pytest.raises(SettingsError) as told:
        Storage("s3://me:se%2Fcret@b/log?region=us-east-1&token=hidden")
    assert told.value.found == (
        "s3: When resolving region for bucket 'b': no host in s3://***:***@b/log?region=us-east-1&token=***, user ***, key ***"
    )
    assert told.value.__cause__ is None
    assert "cannot be reached" in str(told.value)


@pytest.mark.parametrize("uri", ["sftp://me:secret@host/log", "s3://me:se/cret@bucket/log"])
def test_what_is_no_address_is_told_without_any_of_it(uri: str) -> None:
    with pytest.raises(SettingsError, match="no place that files can be kept in") as told:
        Storage(uri)
    assert "cret" not in str(told.value)
