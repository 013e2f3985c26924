"""Models, by the names of `model.name`.

`table.py` builds them, `soft_prompt.py` and `flamingo.py` bring series to a language model, `text_model.py` is that
model, `classifier.py` stages whole nights, and `epoch_reader.py` holds the encoder that they share.
"""

from tslm.models.table import build_classifier, build_model, build_text_model, build_tokenizer

__all__ = ["build_classifier", "build_model", "build_text_model", "build_tokenizer"]
