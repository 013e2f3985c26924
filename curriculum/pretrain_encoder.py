"""Pretrain the encoder: by staging, by filling in hidden parts of unlabelled signal, or by both one after the other."""

import argparse
import sys

from curriculum.train import main as train

_EXAMPLE = """example:
  accelerate launch curriculum/pretrain_encoder.py --objective both --config scorer stage.train_dir=prepared/cassette

All other options and key=value settings are those of curriculum/train.py; they hold for every stage that is run.
"""
# The stages of each objective, and what each of them starts from.
OBJECTIVES = {
    "stages": (("stage0_encoder", ""),),
    "masked": (("stage0_masked", ""),),
    "both": (("stage0_masked", ""), ("stage0_encoder", "stage0_masked")),
}


def main(argv: list[str] | None = None) -> int:
    """Run the stages of the objective; exit code 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="pretrain_encoder.py",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--objective", default="both", choices=OBJECTIVES)
    args, others = parser.parse_known_args(argv)
    for stage, predecessor in OBJECTIVES[args.objective]:
        start = [f"stage.predecessor={predecessor}"] if predecessor else []
        exit_code = train([*others, *start, "--stages", stage])
        if exit_code:
            return exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
