"""Damaged uploads: recordings, names, forms and queries that a client may send by mistake or in bad faith."""

import gzip
import io
import zipfile
from collections.abc import Callable

import numpy as np
import scipy

from evaluation.benchmarks.service.client import build_form

_BOMB_BYTES = 10_000_000
_HEADER_BYTES = 256 * 4  # of an EDF file with three channels


def damage_request(rng: np.random.Generator, content: bytes) -> tuple[str, bytes, str]:
    """A request to upload something damaged: path with query, body, content type.

    Args:
        rng: chooses what is wrong.
        content: a whole EDF recording.
    """
    names = list(_CONTENTS)
    kind = names[rng.integers(len(names))]
    suffix = kind if rng.random() < 0.8 else str(rng.choice(_SUFFIXES))
    body, content_type = build_form(_name(rng, suffix), _CONTENTS[kind](rng, content))
    if rng.random() < 0.2:
        body = _mutate(rng, body, first=400)
    if rng.random() < 0.05:
        body = body[: rng.integers(len(body))]
    if rng.random() < 0.05:
        content_type = str(rng.choice(["multipart/form-data", "multipart/form-data; boundary=", "text/plain", ""]))
    query = str(rng.choice(_QUERIES)) if rng.random() < 0.3 else "explain=none"
    return f"/v1/jobs?{query}", body, content_type


def _mutate(rng: np.random.Generator, content: bytes, first: int = 0) -> bytes:
    """Other bytes at some places, in the first ones or anywhere."""
    data = bytearray(content)
    limit = min(first or len(data), len(data))
    for position in rng.integers(0, max(1, limit), rng.integers(1, 30)):
        if position < len(data):
            data[position] = rng.integers(256)
    return bytes(data)


def _damage_edf(rng: np.random.Generator, content: bytes) -> bytes:
    way = rng.integers(5)
    if way == 0:
        return _mutate(rng, content, first=_HEADER_BYTES)
    if way == 1:
        return content[: rng.integers(len(content))]
    if way == 2:
        start = int(rng.integers(_HEADER_BYTES))
        return content[:start] + content[start + int(rng.integers(1, 9)) :]
    if way == 3:  # a number of the header that is none, negative, or huge
        number = str(rng.choice(["-1", "99999999", "0", "nan", "1e300"])).encode().ljust(8)
        start = int(rng.choice([184, 236, 244, 252, 256 + 3 * 216]))
        return content[:start] + number + content[start + 8 :]
    return _mutate(rng, content)


def _build_csv(rng: np.random.Generator, _: bytes) -> bytes:
    rows = rng.normal(0, 50, (rng.integers(1, 3000), 2))
    text = "\n".join(["EEG,EOG", *(f"{a:.2f},{b:.2f}" for a, b in rows)])
    return _mutate(rng, text.encode()) if rng.random() < 0.7 else text.encode()


def _build_mat(rng: np.random.Generator, _: bytes) -> bytes:
    file = io.BytesIO()
    values = {"EEG": rng.normal(0, 50, rng.integers(1, 5000)), "fs": 100.0}
    scipy.io.savemat(file, values, do_compression=bool(rng.integers(2)))
    return _mutate(rng, file.getvalue()) if rng.random() < 0.8 else file.getvalue()


def _build_bomb(rng: np.random.Generator, _: bytes) -> bytes:
    file = io.BytesIO()
    if rng.integers(2):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../night.edf", bytes(_BOMB_BYTES))
        return file.getvalue()
    return gzip.compress(bytes(_BOMB_BYTES))


def _build_header(rng: np.random.Generator, _: bytes) -> bytes:
    named = str(rng.choice(["../../jobs.sqlite", "/etc/passwd", "n.eeg", ""]))
    text = (
        f"Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nDataFile={named}\n"
        "DataFormat=BINARY\nDataOrientation=MULTIPLEXED\nNumberOfChannels=1\nSamplingInterval=10000\n"
        "[Binary Infos]\nBinaryFormat=INT_16\n[Channel Infos]\nCh1=C4-M1,,0.1,uV\n"
    )
    return _mutate(rng, text.encode()) if rng.random() < 0.5 else text.encode()


def _build_noise(rng: np.random.Generator, _: bytes) -> bytes:
    return rng.bytes(int(rng.integers(0, 5000)))


_CONTENTS: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    ".edf": _damage_edf,
    ".bdf": _damage_edf,
    ".rec": _damage_edf,
    ".csv": _build_csv,
    ".tsv": _build_csv,
    ".mat": _build_mat,
    ".vhdr": _build_header,
    ".set": _build_mat,
    ".fif": _build_noise,
    ".gdf": _build_noise,
    ".cnt": _build_noise,
    ".EDF": _build_bomb,
}
_SUFFIXES = (*_CONTENTS, ".zip", ".gz", ".fif.gz", ".exe", "", ".", ".eeg", ".sqlite")
_QUERIES = (
    "explain=0-999999999999",
    "explain=%00",
    "model=../../etc",
    "epoch_s=nan",
    "epoch_s=1e309",
    "smoothing=hmm",
    "channel=EEG%20Fpz-Cz",
    "channel=%F0%9F%92%A4",
    "extra_channels=a&extra_channels=b",
    "extra_channels=EOG%20horizontal&extra_channels=EMG%20submental&explain=none",
    "unknown=1",
    "explain",
    "&&&=",
)


def _name(rng: np.random.Generator, suffix: str) -> bytes:
    """A name of a file, now and then one that means harm."""
    stems = (
        b"night",
        b"../../../etc/passwd",
        b"C:\\\\x",
        b"a" * 500,
        b"\xff\xfe",
        b"%2e%2e%2f",
        b"..",
        b"",
        b"a;b",
        b"n\x00t",
    )
    stem = b"night" if rng.random() < 0.7 else stems[rng.integers(len(stems))]
    return stem + suffix.encode()
