import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyedflib
import pytest

from tslm.export.night import NightResult
from tslm.export.table import EXPORTS, write_exports
from tslm.files import DISCLAIMER


def test_a_folder_holds_every_file_of_the_table(night: NightResult, folder: Path) -> None:
    written = write_exports(night, folder)
    assert list(written) == list(EXPORTS)
    assert sorted(folder.iterdir()) == sorted(written.values())
    assert written["bids"].name == "sub-SC4001E0_task-sleep_events.tsv"


def test_a_night_without_texts_and_events_has_no_files_of_them(night: NightResult, folder: Path) -> None:
    assert set(EXPORTS) - set(write_exports(replace(night, rows=None, events=None), folder)) == {
        "explanations",
        "events",
    }


@pytest.mark.parametrize("keep_identity", [False, True])
def test_date_and_patient_code_are_written_only_where_asked_for(
    keep_identity: bool, night: NightResult, folder: Path
) -> None:
    written = write_exports(night, folder, keep_identity)
    text = b"".join(path.read_bytes() for path in written.values())
    assert (b"2019-04-23" in text, b"X-4711" in text, b"23-APR" in text) == (keep_identity,) * 3
    with pyedflib.EdfReader(str(written["annotations"])) as reader:
        start = reader.getStartdatetime()
    assert start.time().isoformat() == "22:15:30"
    assert (start.year == 2019) == keep_identity


def test_every_json_says_what_it_is_not_for(night: NightResult, folder: Path) -> None:
    written = [path for path in write_exports(night, folder).values() if path.suffix == ".json"]
    assert len(written) == 3
    for path in written:
        assert DISCLAIMER in json.dumps(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", EXPORTS)
def test_a_full_disk_is_an_error_that_leaves_the_file_before_it(
    name: str, night: NightResult, folder: Path, full_disk: Any
) -> None:
    path = folder / EXPORTS[name].file_name.format(bids="night")
    EXPORTS[name].write(night, path)
    before = path.read_bytes()
    assert len(before) > 100
    with full_disk(100), pytest.raises(OSError, match=r"annotations\.edf cannot be written|File too large"):
        EXPORTS[name].write(night, path)
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]
