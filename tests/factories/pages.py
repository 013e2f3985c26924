"""Predictions of small nights, and a reader of the pages that are made of them."""

import json
import re
from html.parser import HTMLParser

import numpy as np

from tests.factories.rows import OPTIONS, classify, make_row, of_system
from tslm.data.prepared.recordings import Recording
from tslm.labels import SleepStage
from tslm.predictions.scorings import parse_scorings
from tslm.report.page import write_report
from tslm.scoring.systems import score_systems

VOID = {"meta", "link", "br", "path", "polyline", "input"}


class PageChecker(HTMLParser):
    """Collects what the assertions look at; fails on tags that do not close."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def find(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def night(self):
        """The document that the page's scripts read."""
        (text,) = re.findall(r'id="tslm-document">(.*?)</script>', self.source, re.DOTALL)
        return json.loads(text)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words).replace("\u202f", " "))


def find_absolute_paths(text: str) -> list[str]:
    """Starts of absolute paths in a text that shall hold none, such as "/data/"; addresses of the web do not count."""
    return re.findall(r"""(?:^|[\s='"(`])(/\w[\w.-]*/)""", text, flags=re.MULTILINE)


def read_page(path):
    page = PageChecker()
    page.source = path.read_text(encoding="utf-8")
    page.feed(page.source)
    assert page.open == []
    return page


def make_rows(num_rows=120, recording="n1", options=OPTIONS, classifier=True):
    """Rows of a language model, then of a classifier, on the same epochs."""
    rng = np.random.default_rng(num_rows)
    rows, classified = [], []
    for idx in range(num_rows):
        truth = options[idx // 10 % len(options)]
        answer = truth if rng.random() < 0.7 else options[rng.integers(len(options))]
        row = make_row(
            40 + idx,
            truth,
            "Cut off before" if idx == 17 else f"RMS {idx} uV. Answer: {answer}<|im_end|>",
            recording,
            sample_id=f"{recording}:{idx}",
            options=options,
            target=f"Reference {idx}. Answer: {truth}",
            evidence={"rms_uv": 12.5, "delta_share": 0.41, "spindle_count": 2, "dominant_hz": None},
        )
        rows.append(row)
        if classifier:
            classified.append(classify(row, rng.dirichlet(np.ones(len(options))).tolist()))
    return rows + classified


def write_page(rows, path, **more):
    scorings = parse_scorings(rows)
    write_report(scorings, score_systems(scorings, num_resamples=20), path, **more)
    return read_page(path)


def small_night(num_rows=40, text=None):
    """(rows, recording): both systems with probabilities, signals of EEG, EOG and EMG, a flag, two epochs missing.

    Two spindles and a slow wave lie in each epoch, of which the text names the spindles.
    """
    rng = np.random.default_rng(num_rows)
    rows = [row for row in make_rows(num_rows + 2) if row["epoch_idx"] not in (60, 61)]
    for idx, row in enumerate(of_system(rows)):
        row["probabilities"] = rng.dirichlet(np.ones(5)).tolist()
        row["generated"] = text or (
            f"Low amplitude, RMS {12 + idx % 2} uV. Two spindles and possibly a K-complex. "
            f"Decisive: the spindles (5.B). Answer: {row['truth']}"
        )
        row["evidence"] = {"rms_uv": 12.5, "spindle_count": 2, "k_complex_count": 0, "delta_share": 0.41}
        row["events"] = [["spindles", 3.0, 1.0], ["spindles", 12.5 + 0.1 * (idx % 3), 0.8], ["slow_waves", 20.0, 2.5]]
    num_epochs = 40 + num_rows + 2
    noise_EL = rng.normal(0, 20, (num_epochs, 3000)).astype(np.float32)
    recording = Recording(
        recording="n1",
        subject="s1",
        fs_hz=100,
        epoch_s=30,
        channels={"EEG Fpz-Cz": noise_EL, "EOG horizontal": 2 * noise_EL, "EMG submental": noise_EL / 2},
        sleep_stages=(SleepStage.WAKE,) * num_epochs,
        onset_s=30.0 * np.arange(num_epochs),
        columns={"motion_flag": np.arange(num_epochs) == 45},
        start="2020-02-03T22:10:00",
        source="simulated",
    )
    return rows, recording
