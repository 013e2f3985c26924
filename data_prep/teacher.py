r"""Let a teacher model behind a chat endpoint write the rationales of a prepared cohort.

1. the measured facts of an epoch and the expert's label make one request
2. the answer is kept if it ends in the label, names no sleep stage before, and every checkable claim holds
3. otherwise the epoch keeps the rationale written from its evidence; the column `rationale_source` tells which it has

Example:
    python -m data_prep.teacher --data prepared/cassette --out prepared/cassette_taught \\
        --base_url https://api.openai.com/v1 --model gpt-4o-mini --limit 1000
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.rationales.chat import ChatClient, Endpoint, Message, NoAnswerError, RateLimit
from tslm.answers.grammar import ANSWER_PREFIX, parse_answer, split_response
from tslm.command import run_command
from tslm.data.prepared.recordings import (
    PARTICIPANTS_FILE,
    Participant,
    Recording,
    read_checked,
    read_participants,
    write_participants,
    write_recording,
)
from tslm.evidence.words import epoch_facts
from tslm.explain.claims.checks import Verdict
from tslm.explain.faithfulness import check_rationale
from tslm.labels import ANSWER_NAMES, SleepStage, species_group
from tslm.progress_bar import progress_bar

_CACHE_DIR = "teacher_answers"
SOURCE_COLUMN = "rationale_source"
TEACHER, EVIDENCE, NOT_ASKED = "teacher", "evidence", ""
_MOST_FAILURES = 5  # requests in a row without an answer, after which the run stops
_MOST_WORDS = 200

_SYSTEM = (
    "You write for people who score sleep recordings. You are given what was measured in one epoch of EEG and the "
    "stage an expert gave it. Write the reasoning of someone who sees the same epoch and arrives at that stage."
)
_TASK = (
    "Rules:\n"
    "- State only what the list above says. Invent no waveform, count or figure; leave out what you doubt.\n"
    "- Speak of each thing that matters for the decision, with its figure where it helps.\n"
    "- If something measured speaks against the stage, say so.\n"
    "- One paragraph of 40 to 90 words, without lists or headings.\n"
    "- Name no sleep stage, wakefulness included, before the end, and do not mention the expert.\n"
    "- End with '{prefix} {answer}' and nothing after it."
)
# Text of each evidence column in the request; columns that a recording lacks are left out.
_HUMAN_ONLY = ("alpha_fraction", "spindle_count", "k_complex_count", "eye_movement_count")
_FACT_TEXTS: dict[str, str] = {
    "rms_uv": "RMS amplitude: {:.0f} uV",
    "peak_to_peak_uv": "peak to peak: {:.0f} uV",
    "delta_share": "share of delta in the power from 0.5 to 30 Hz: {:.0%}",
    "theta_share": "share of theta: {:.0%}",
    "alpha_share": "share of alpha: {:.0%}",
    "sigma_share": "share of sigma: {:.0%}",
    "beta_share": "share of beta: {:.0%}",
    "alpha_fraction": "part of the epoch with alpha rhythm: {:.0%}",
    "slow_wave_fraction": "part of the epoch with slow waves over 75 uV: {:.0%}",
    "spindle_count": "sleep spindles: {:.0f}",
    "k_complex_count": "K-complexes: {:.0f}",
    "eye_movement_count": "eye movements: {:.0f}",
    "artefact_fraction": "flat or clipped part: {:.0%}",
}
_NAMES_STAGE = re.compile(
    r"\b(?:n?rem(?![a-z])|non[- ]?rem|n[1-3]|s[1-4]|stage (?:[1-4]|[nrw][1-3]?)|(?:deep|light|slow[- ]wave) sleep|"
    r"wake(?:ful(?:ness)?)?|awake)\b",
    re.IGNORECASE,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code: 0 done, 1 the endpoint or the disk failed, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: _teach(arguments), "run the same command again to continue")


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.teacher`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.teacher",
        description="Copy a prepared cohort with rationales by a teacher model. A rationale is kept if it ends in the "
        "expert's label and the measurements confirm every claim that can be checked; other epochs keep the rationale "
        "written from their evidence. Answers are stored: a second run sends no request.",
        epilog="example: python -m data_prep.teacher --data prepared/cassette --out prepared/cassette_taught "
        "--base_url https://api.openai.com/v1 --model gpt-4o-mini --limit 1000",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared cohort")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the copy")
    parser.add_argument("--base_url", required=True, metavar="URL", help="OpenAI-compatible endpoint, with its /v1")
    parser.add_argument("--model", required=True, metavar="NAME", help="name of the model at the endpoint")
    parser.add_argument(
        "--api_key_env", default="OPENAI_API_KEY", metavar="NAME", help="environment variable with the key"
    )
    parser.add_argument("--requests_per_minute", type=float, default=0, metavar="N", help="0 (default): no limit")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="requests at the same time (default 4)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="epochs to ask for; 0 (default): all")
    parser.add_argument("--timeout_s", type=float, default=Endpoint.timeout_s, metavar="S", help="timeout of a request")
    parser.add_argument("--num_tries", type=int, default=Endpoint.num_tries, metavar="N", help="tries of one request")
    parser.add_argument("--cache", type=Path, metavar="DIR", help=f"stored answers (default: {_CACHE_DIR} in --out)")
    return parser


def _teach(arguments: argparse.Namespace) -> str:
    for name in ("requests_per_minute", "limit"):
        if getattr(arguments, name) < 0:
            raise ValueError(f"--{name} {getattr(arguments, name)}: expected 0 or more")
    for name in ("workers", "timeout_s", "num_tries"):
        if not getattr(arguments, name) > 0:
            raise ValueError(f"--{name} {getattr(arguments, name)}: expected more than 0")
    endpoint = Endpoint(
        arguments.base_url,
        arguments.model,
        os.environ.get(arguments.api_key_env, "").strip(),
        timeout_s=arguments.timeout_s,
        num_tries=arguments.num_tries,
    )
    client = ChatClient(
        endpoint, arguments.cache or arguments.out / _CACHE_DIR, RateLimit(arguments.requests_per_minute)
    )
    participants, counts = teach_cohort(client, arguments.data, arguments.out, arguments.limit, arguments.workers)
    listed = "\n".join(f"  {count} {what}" for what, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{len(participants)} recordings in {arguments.out}, {client.num_asked} requests sent\n{listed}"


def build_messages(facts: Mapping[str, float], sleep_stage: SleepStage, species: str, epoch_s: float) -> list[Message]:
    """The request for one epoch: rounded facts (`tslm.evidence.words.epoch_facts`), the expert's label, the rules."""
    is_human = species_group(species) == "human"
    lines = [
        f"- {text.format(facts[column])}"
        for column, text in _FACT_TEXTS.items()
        if column in facts and (is_human or column not in _HUMAN_ONLY)
    ]
    answer = ANSWER_NAMES[sleep_stage]
    measured = f"Measured in this {epoch_s:g}-second epoch ({species}, one EEG channel):\n" + "\n".join(lines)
    task = _TASK.format(prefix=ANSWER_PREFIX, answer=answer)
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"{measured}\n\nThe expert's stage: {answer}\n\n{task}"},
    ]


def filter_answer(text: str, sleep_stage: SleepStage, evidence_row: Mapping[str, float]) -> tuple[str, str]:
    """(rationale, "") of a teacher's answer that is kept, else ("", reason why it is not)."""
    rationale, closing = split_response(text)
    rationale = " ".join(rationale.split())
    if not closing or parse_answer(text, tuple(ANSWER_NAMES.values())) != ANSWER_NAMES[sleep_stage]:
        return "", "does not end in the label"
    if _NAMES_STAGE.search(rationale):
        return "", "names a stage before the end"
    if len(rationale.split()) > _MOST_WORDS:
        return "", "is too long"
    checked = check_rationale(rationale, evidence_row)
    if checked.count(Verdict.CONTRADICTED):
        return "", "contradicts a measurement"
    if not checked.is_faithful:
        return "", "makes no claim that can be checked"
    return rationale, ""


def teach_cohort(
    client: ChatClient, cohort_dir: Path, out_dir: Path, limit: int = 0, workers: int = 1
) -> tuple[list[Participant], Counter[str]]:
    """Write a copy of a prepared cohort, with the teacher's rationales that pass the filter.

    Args:
        client: Client of the teacher model.
        cohort_dir: Prepared recordings with evidence and rationales.
        out_dir: Folder of the copy. The same call continues an interrupted run.
        limit: Number of epochs to ask for, spread evenly over the cohort; 0: all.
        workers: Requests at the same time.

    Returns:
        The rows of participants.tsv, and the number of epochs by outcome.

    Raises:
        ValueError: The folders are the same, or a recording has no evidence.
        OSError: The endpoint refuses, or gives no answer several times in a row.
    """
    if cohort_dir.resolve() == out_dir.resolve():
        raise ValueError(f"--out {out_dir} is the cohort itself; give another folder for the copy")
    participants = read_participants(cohort_dir)
    (out_dir / PARTICIPANTS_FILE).unlink(missing_ok=True)  # an interrupted run must not look like a whole cohort
    counts: Counter[str] = Counter()
    written = []
    shares = np.diff(np.linspace(0, limit, len(participants) + 1).astype(int))
    for row, num_asked in zip(participants, shares, strict=True):
        recording = read_checked(row, cohort_dir)
        taught = _teach_recording(client, recording, int(num_asked) if limit else recording.num_epochs, workers, counts)
        copy = write_recording(taught, out_dir, row.split)
        written.append(replace(row, sha256=copy.sha256))
    write_participants(written, out_dir)
    return written, counts


def _teach_recording(
    client: ChatClient, recording: Recording, num_asked: int, workers: int, counts: Counter[str]
) -> Recording:
    evidence = {name: values for name, values in recording.columns.items() if isinstance(values, np.ndarray)}
    rationales = recording.columns.get("rationale")
    if "rms_uv" not in evidence or not isinstance(rationales, list):
        raise ValueError(f"{recording.recording} has no evidence and rationales; prepare it again")
    epochs = [idx for idx, sleep_stage in enumerate(recording.sleep_stages) if sleep_stage in ANSWER_NAMES]
    epochs = [epochs[at] for at in np.unique(np.linspace(0, len(epochs) - 1, min(num_asked, len(epochs))).astype(int))]
    rationales, sources = list(rationales), [EVIDENCE if text else NOT_ASKED for text in rationales]
    requests = [
        build_messages(epoch_facts(evidence, idx), recording.sleep_stages[idx], recording.species, recording.epoch_s)
        for idx in epochs
    ]
    with progress_bar(total=len(epochs), desc=recording.recording, unit="epoch") as bar:
        for idx, answer in zip(epochs, _ask_all(client, requests, workers), strict=True):
            bar.update()
            if answer is None:
                counts["evidence: no answer"] += 1
                continue
            row = {name: float(values[idx]) for name, values in evidence.items()}
            rationale, reason = filter_answer(answer, recording.sleep_stages[idx], row)
            counts[f"evidence: the answer {reason}" if reason else TEACHER] += 1
            if rationale:
                rationales[idx], sources[idx] = rationale, TEACHER
    columns = {**recording.columns, "rationale": rationales, SOURCE_COLUMN: sources}
    return replace(recording, columns=columns)


def _ask_all(client: ChatClient, requests: Sequence[list[Message]], workers: int) -> Iterator[str | None]:
    """Answers in order, None if there is none. OSError if the endpoint seems to be down."""
    num_failed = 0
    executor = ThreadPoolExecutor(workers)
    try:
        for future in [executor.submit(client.ask, messages) for messages in requests]:
            try:
                answer: str | None = future.result()
                num_failed = 0
            except NoAnswerError as error:
                answer, num_failed = None, num_failed + 1
                if num_failed >= _MOST_FAILURES:
                    raise OSError(f"{error}, {num_failed} times in a row; run again later") from error
            yield answer
    finally:
        executor.shutdown(cancel_futures=True)


if __name__ == "__main__":
    sys.exit(main())
