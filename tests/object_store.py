"""Object stores for tests: fsspec's memory, and a local server that speaks S3."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch
from urllib.request import Request, urlopen

import pytest

BUCKET = "pictures"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Store:
    """An object store with an empty bucket."""

    base: str
    """URL of the bucket."""
    write: Callable[[str, bytes], None]
    """Write (key, data)."""
    read: Callable[[str], bytes]
    names: Callable[[], list[str]]
    """Keys in the bucket, sorted."""

    def url(self, key: str) -> str:
        """URL of an object."""
        return f"{self.base}/{key}"


@contextmanager
def memory_store() -> Iterator[Store]:
    """fsspec's memory file system, emptied at the end."""
    fs = pytest.importorskip("fsspec").filesystem("memory")
    fs.store.clear()
    prefix = f"/{BUCKET}"
    yield Store(
        f"memory://{BUCKET}",
        lambda key, data: fs.pipe_file(f"{prefix}/{key}", data),
        lambda key: fs.cat_file(f"{prefix}/{key}"),
        lambda: sorted(name.removeprefix(f"{prefix}/") for name in fs.find(prefix)),
    )
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@contextmanager
def s3_store() -> Iterator[Store]:
    """A server in this process, found by s3fs through the environment."""
    pytest.importorskip("s3fs", reason="the extra remote is not installed")
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    import boto3
    import s3fs

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with patch.dict(os.environ, CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint}):
        os.environ.pop("AWS_PROFILE", None)
        s3fs.S3FileSystem.clear_instance_cache()
        urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")).close()  # servers of a process share their state
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket=BUCKET)
        pages = partial(client.get_paginator("list_objects_v2").paginate, Bucket=BUCKET)
        yield Store(
            f"s3://{BUCKET}",
            lambda key, data: client.put_object(Bucket=BUCKET, Key=key, Body=data),
            lambda key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read(),
            lambda: sorted(found["Key"] for page in pages() for found in page.get("Contents", [])),
        )
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
