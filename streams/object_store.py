"""Single objects put whole into S3 or Google's storage, also only where there is none yet: what pyarrow cannot ask for."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from samestream.schemas.errors import SettingsError


class ObjectStore:
    """Puts objects, by paths as pyarrow has them: the bucket first.

    uri : as pyarrow reads it, `s3://[key:secret@]bucket/path[?region=...&endpoint_override=...&scheme=...]`. What it does
        not say comes from the environment, as in the provider's own tools: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
        an instance's role, `GOOGLE_APPLICATION_CREDENTIALS`.
    Raises SettingsError where the package that does it is not installed.
    """

    def __init__(self, uri: str, filesystem: Any) -> None:
        try:
            import obstore
            from obstore import store
        except ImportError as error:
            raise SettingsError(
                "a package is missing that writes to an object store",
                where=uri.partition(":")[0],
                hint="pip install 'samestream[s3]'.",
            ) from error
        self._obstore, parts = obstore, urlsplit(uri)
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self._bucket = parts.hostname or ""
        if filesystem.type_name == "gcs":
            self._store: Any = store.GCSStore(self._bucket)
            return
        config: Any = {"region": filesystem.region}
        if parts.username and parts.password:
            config |= {
                "access_key_id": unquote(parts.username),
                "secret_access_key": unquote(parts.password),
            }
        if endpoint := asked.get("endpoint_override"):
            scheme = asked.get("scheme", "https")
            config["endpoint"] = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
        plain = str(config.get("endpoint", "")).startswith("http://")
        self._store = store.S3Store(self._bucket, config=config, client_options={"allow_http": plain})

    def put(self, path: str, content: bytes) -> None:
        """Store an object, whole, in the place of any of that name; OSError if it cannot be."""
        self._put(path, content, create=False)

    def create(self, path: str, content: bytes) -> bool:
        """Store an object only where there is none of that name; whether there was none."""
        return self._put(path, content, create=True)

    def _put(self, path: str, content: bytes, *, create: bool) -> bool:
        bucket, _, name = path.partition("/")
        assert bucket == self._bucket, path
        exceptions = self._obstore.exceptions
        try:
            self._obstore.put(self._store, name, content, mode="create" if create else "overwrite")
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return False
        except exceptions.BaseError as error:
            raise OSError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
        return True
