"""The trained models that come with the package: `table.py` reads table.yaml, which lists them.

A folder each holds config.json, the weights as safetensors in bfloat16, calibration.json, transitions.json, the card
README.md and, of a scorer, novelty.json. Base language models and tokenizers are not part of them
(tslm.models.llm.store). In a checkout `python -m curriculum.package` adds one.
"""
