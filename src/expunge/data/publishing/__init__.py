"""Records written as the benchmarks publish them: one folder for each config, one parquet file in it.

Pictures become PNG bytes in a {bytes, path} struct, which is how image columns are stored in published parquet files.
Equal records give equal tables.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.core.types import Picture
from expunge.data.dossiers import CELEBRITIES
from expunge.data.forms import LETTERS
from expunge.data.publishing import clear_records, mllmu_records

if TYPE_CHECKING:
    import pyarrow

FILE = "train-00000-of-00001.parquet"


def write_mllmu(
    folder: str | Path, size: int = 500, celebrities: int = CELEBRITIES, pixels: int = 128, seed: int = 0
) -> Path:
    """Our people in MLLMU-Bench's layout below ``folder``, every config. ``pixels`` is the pictures' side."""
    for config in mllmu_records.configs(size, celebrities, seed):
        write(
            Path(folder) / config / FILE, mllmu_records.records(config, size, celebrities, seed), mllmu_schema, pixels
        )
    return Path(folder)


def write_clear(
    folder: str | Path, people: int = clear_records.PEOPLE, pictures: int = clear_records.PICTURES, pixels: int = 128,
    seed: int = 0,
) -> Path:  # fmt: skip
    """Our people in CLEAR's layout below ``folder``; its default config lies in ``data``, as published."""
    for config in clear_records.configs():
        place = "data" if config == "default" else config
        made = clear_records.rows(config, people, pictures, seed)
        write(Path(folder) / place / FILE, made, clear_schema, pixels)
    return Path(folder)


def write(path: Path, records: Iterable[Mapping[str, Any]], schema: Any, pixels: int) -> None:
    """One parquet file. ``schema`` makes a pyarrow schema from the keys that the records have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = [{key: _plain(value, pixels) for key, value in record.items()} for record in records]
    keys = list(dict.fromkeys(key for record in made for key in record))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(made, schema(keys)), path)


def mllmu_schema(keys: Iterable[str]) -> pyarrow.Schema:
    """The published types of MLLMU-Bench's columns."""
    import pyarrow as pa

    text = pa.string()
    options = pa.struct([(letter, text) for letter in LETTERS])
    asked = pa.list_(pa.struct([("Question", text), ("Options", options), ("Correct_Answer", text)]))
    rows = pa.list_(pa.struct([("Question", text), ("Ground_Truth", text), ("Type", text)]))
    task = pa.struct([(key, asked) for key in mllmu_records.LISTS.values()])
    types = {"Classification_Task": task, "Generation_Task": rows, "Mask_Task": rows, **_pictures()}
    return pa.schema([(key, types.get(key, text)) for key in keys])


def clear_schema(keys: Iterable[str]) -> pyarrow.Schema:
    """The published types of CLEAR's columns."""
    import pyarrow as pa

    text, several = pa.string(), pa.list_(pa.string())
    types = dict.fromkeys(("perturbed_captions", "perturbed_names", "options"), several) | _pictures()
    return pa.schema([(key, types.get(key, text)) for key in keys])


def _pictures() -> dict[str, Any]:
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return {"image": image, "images": pa.list_(image)}


def _plain(value: Any, pixels: int) -> Any:
    if isinstance(value, Picture):
        held = io.BytesIO()
        value.open(pixels).save(held, format="PNG")
        return {"bytes": held.getvalue(), "path": None}
    if isinstance(value, list) and value and isinstance(value[0], Picture):
        return [_plain(one, pixels) for one in value]
    return value
