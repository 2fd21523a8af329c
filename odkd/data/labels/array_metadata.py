"""The zarr.json of an array with a row per frame: Zarr v3, one zstd chunk per frame, in shards (ZEP 2)."""

import json
from collections.abc import Mapping

import numpy as np

ZSTD_LEVEL = 1
FILL_VALUES: dict[str, float] = {"uint8": 255, "float16": 0.0}  # what other libraries show for a missing frame


def array_metadata(
    shape: tuple[int, ...], shard_frames: int, dtype: np.dtype, separator: str, attributes: Mapping[str, object]
) -> bytes:
    """Return the content of zarr.json for an array [n, *row]; every chunk and every index carries a CRC-32C."""
    rows = shape[1:]
    bytes_codec: dict[str, object] = {"name": "bytes"}
    if dtype.itemsize > 1:
        bytes_codec["configuration"] = {"endian": "little"}
    index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    zstd = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
    sharding = {
        "chunk_shape": [1, *rows],
        "codecs": [bytes_codec, zstd, {"name": "crc32c"}],
        "index_codecs": index_codecs,
        "index_location": "end",
    }
    content = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [*shape],
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard_frames, *rows]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
        "fill_value": FILL_VALUES[dtype.name],
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": dict(attributes),
    }
    return (json.dumps(content, indent=1) + "\n").encode()
