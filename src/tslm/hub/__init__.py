"""Checkpoints as transformers loads them: importing this makes AutoConfig, AutoModel and AutoProcessor know them."""

from transformers import AutoConfig, AutoModel, AutoProcessor

from tslm.hub.modeling import TSLMClassifier, TSLMClassifierConfig, TSLMTextConfig, TSLMTextModel
from tslm.hub.processing import StagedEpoch, TSLMProcessor

__all__ = [
    "StagedEpoch",
    "TSLMClassifier",
    "TSLMClassifierConfig",
    "TSLMProcessor",
    "TSLMTextConfig",
    "TSLMTextModel",
]

for _model_class in (TSLMTextModel, TSLMClassifier):
    _config_class = _model_class.config_class
    AutoConfig.register(_config_class.model_type, _config_class)
    AutoModel.register(_config_class, _model_class)
    AutoProcessor.register(_config_class, TSLMProcessor)
