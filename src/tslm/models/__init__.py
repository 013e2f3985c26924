"""The models, by the names of `model.name`."""

from tslm.models.table import build_classifier, build_model, build_text_model, build_tokenizer

__all__ = ["build_classifier", "build_model", "build_text_model", "build_tokenizer"]
