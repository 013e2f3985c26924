"""Mutated EDF files: each is read or refused in one line; none hangs, crashes or fills the memory."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyedflib
import pytest

from tslm.data.cohorts.cohort import ChannelConfig, DerivationConfig
from tslm.data.cohorts.montage import read_montage
from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.hypnograms.grid import build_sleep_stages
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import SignalsConfig
from tslm.labels import RK_ANNOTATIONS

NUM_MUTANTS = 2000
MAX_SAMPLES = 25_000_000
FIXED_FIELDS = ((0, 8), (8, 80), (88, 80), (168, 8), (176, 8), (184, 8), (192, 44), (236, 8), (244, 8), (252, 4))
COLUMN_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
GARBAGE = (
    *(b"", b"0", b"-1", b"1", b"-0", b"nan", b"inf", b"1e308", b"-1e999", b"1e-320", b"99999999", b"-9999999"),
    *(b"2147483647", b"4294967296", b"1_000", b"0x10", b"\xff\xfe\xfd", b"\0\0\0\0", b"1,5", b"+7", b"EDF+D", b"EDF+C"),
    *(b"BDF+D", b"\xffBIOSEMI", b"EDF Annotations", b"BDF Annotations", b"uV", b"V", b"\xb5V", b"31.02.99", b"\n\n"),
)


def write_base_files(folder: Path) -> list[bytes]:
    """EDF, EDF+, EDF+ as discontinuous, and BDF+ of two channels and some annotations, 10 s each."""
    values = np.random.default_rng(0).normal(0, 40, (2, 1000))
    contents = []
    for kind in (pyedflib.FILETYPE_EDF, pyedflib.FILETYPE_EDFPLUS, pyedflib.FILETYPE_BDFPLUS):
        path = folder / "base.edf"
        bits = 24 if kind == pyedflib.FILETYPE_BDFPLUS else 16
        with pyedflib.EdfWriter(str(path), 2, file_type=kind) as writer:
            for idx, name in enumerate(("EEG C4-M1", "EMG chin")):
                header = {"label": name, "dimension": "uV", "sample_frequency": 100, "transducer": "", "prefilter": ""}
                header |= {"physical_min": -400, "physical_max": 400}
                digital = {"digital_min": -(2 ** (bits - 1)), "digital_max": 2 ** (bits - 1) - 1}
                writer.setSignalHeader(idx, header | digital)
            writer.writeSamples(list(values))
            if kind != pyedflib.FILETYPE_EDF:
                writer.writeAnnotation(0, 5, "Sleep stage W")
                writer.writeAnnotation(5, 5, "Sleep stage 2")
        contents.append(path.read_bytes())
    discontinuous = bytearray(contents[1])
    discontinuous[192:197] = b"EDF+D"
    return [*contents, bytes(discontinuous)]


def pick_field(generator: random.Random, content: bytes) -> tuple[int, int]:
    """Start and width of one field of the header."""
    if generator.random() < 0.4:
        return generator.choice(FIXED_FIELDS)
    num_signals = int(content[252:256])
    column = generator.randrange(len(COLUMN_WIDTHS))
    width = COLUMN_WIDTHS[column]
    return 256 + num_signals * sum(COLUMN_WIDTHS[:column]) + width * generator.randrange(num_signals), width


def replace_field(generator: random.Random, content: bytearray, whole: bytes) -> None:
    start, width = pick_field(generator, whole)
    if generator.random() < 0.3:
        field = str(generator.choice((-1, 1)) * generator.randrange(10 ** generator.randrange(1, 9))).encode()
    else:
        field = generator.choice(GARBAGE)
    content[start : start + width] = field[:width].ljust(width)


def flip_bytes(generator: random.Random, content: bytearray, whole: bytes) -> None:
    stop = len(whole) if generator.random() < 0.3 else 256 * (int(whole[252:256]) + 1)
    for _ in range(generator.choice((1, 2, 5, 40))):
        content[generator.randrange(stop)] = generator.randrange(256)


def cut(generator: random.Random, content: bytearray, whole: bytes) -> None:
    del content[generator.randrange(len(whole)) :]


def append(generator: random.Random, content: bytearray, whole: bytes) -> None:
    content += generator.randbytes(generator.choice((1, 600, 5000)))


MUTATIONS: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    *(replace_field,) * 5,
    *(flip_bytes,) * 3,
    cut,
    append,
)


def mutate(generator: random.Random, whole: bytes) -> bytes:
    content = bytearray(whole)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        if len(content) == len(whole):  # places are those of the whole file
            generator.choice(MUTATIONS)(generator, content, whole)
    return bytes(content)


def read_everything(path: Path, allow_truncated: bool) -> None:
    file = open_signals(path, SignalsConfig(allow_truncated=allow_truncated))
    for channel in dict.fromkeys(channel.name for channel in file.channels):
        signals, _ = read_montage(file, {"EEG": ChannelConfig(any=(DerivationConfig(channel or "?"),))})
        assert all(len(signal.values) <= MAX_SAMPLES for signal in signals.values())
    build_sleep_stages(file.read_annotations(), RK_ANNOTATIONS, HypnogramConfig(), 30)


def fuzz(folder: Path, seed: int, num_mutants: int) -> int:
    """Number of mutants that could be read; raises on anything but a clear refusal."""
    generator = random.Random(seed)
    bases = write_base_files(folder)
    path = folder / "mutant.edf"
    refusals = []
    for idx in range(num_mutants):
        path.write_bytes(mutate(generator, generator.choice(bases)))
        try:
            read_everything(path, allow_truncated=generator.random() < 0.5)
        except (ValueError, OSError) as error:
            refusals.append((idx, str(error)))
        except Exception as error:
            raise AssertionError(f"mutant {idx} of seed {seed}: {error!r}") from error
    for idx, message in refusals:
        assert message, f"mutant {idx} of seed {seed}: no message"
        assert "\n" not in message, f"mutant {idx} of seed {seed}: {message}"
        assert len(message) < 1000, f"mutant {idx} of seed {seed}: {message}"
    return num_mutants - len(refusals)


@pytest.mark.filterwarnings("error")
def test_mutated_headers_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    num_read = fuzz(tmp_path, 3, NUM_MUTANTS)
    assert NUM_MUTANTS / 20 < num_read < NUM_MUTANTS * 19 / 20  # neither so broken nor so mild that nothing is tried
