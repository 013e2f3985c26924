"""Data, preset and command of training runs that take seconds."""

from pathlib import Path

from curriculum.train import main
from tests.factories.small import write_small_cohort, write_small_corpus

PRESET = """
defaults: [config]
model:
  encoder: {{d_model: 16, num_layers: 1, num_heads: 2, d_ff: 32, num_bands: 8}}
  context: {{hidden_size: 8, window_epochs: 5}}
  lora: {{rank: 2}}
train: {{train_epochs: 1, batch_size: 4, precision: fp32, log_every_steps: 1}}
stage: {{max_new_tokens: 4, prompt_style: brief, train_dir: {data}/sim_human, test_dir: ""}}
results_dir: {data}/results
per_stage:
  stage0_encoder: {{stage: {{hard_examples: 1.0}}}}
  stage1_mcq: {{stage: {{predecessor: stage0_encoder, train_dir: {data}/mcq}}}}
  stage2_captioning: {{stage: {{train_dir: {data}/captions}}}}
  stage3_cot: {{stage: {{train_dir: {data}/ecg_cot}}}}
  stage5_ecg_cot: {{stage: {{train_dir: {data}/ecg_cot}}}}
  stage4_sleep_cot: {{stage: {{num_train_samples: 8, sampling: balanced}}, train: {{precision: bf16}}}}
"""


def write_tiny_data(folder: Path) -> Path:
    """Small prepared data of every stage, and a preset for it: small.yaml."""
    write_small_cohort(folder / "sim_human")
    for name, task in (("mcq", "choice"), ("captions", "caption"), ("ecg_cot", "ecg")):
        write_small_corpus(folder / name, task)
    (folder / "small.yaml").write_text(PRESET.format(data=folder))
    return folder


def command(data_dir: Path, stages: list[str], *more: str) -> int:
    return main(["--stages", *stages, "--llm", "tiny", "--config", str(data_dir / "small.yaml"), *more])
