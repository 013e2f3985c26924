from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from tslm.config.schema import LLMConfig, LoRAConfig
from tslm.models.llm.backbone import attach_lora, compile_layers, load_llm, load_lora, save_lora


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_adapters_act_as_pefts_own(tiny_llm: Path, tmp_path: Path, dropout: float) -> None:
    llm = attach_lora(AutoModelForCausalLM.from_pretrained(tiny_llm), LoRAConfig(dropout=dropout)).eval()
    torch.manual_seed(0)
    for name, param in llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(param, std=0.05)
    save_lora(llm, tmp_path, base_model=str(tiny_llm))
    plain = AutoModelForCausalLM.from_pretrained(tiny_llm)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    ours = load_lora(AutoModelForCausalLM.from_pretrained(tiny_llm), tmp_path, is_trainable=True).eval()
    ids = torch.arange(24).reshape(2, 12)
    assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=1e-5)
    with ours.disable_adapter(), theirs.disable_adapter():
        assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=1e-5)
    if dropout:
        torch.manual_seed(1)
        trained = ours.train()(ids).logits
        torch.manual_seed(1)
        assert torch.allclose(trained, theirs.train()(ids).logits, atol=1e-5)


def test_compiled_layers_give_the_same_loss_and_gradients(tiny_llm: Path) -> None:
    torch.manual_seed(0)
    llm = attach_lora(AutoModelForCausalLM.from_pretrained(tiny_llm), LoRAConfig())
    ids = torch.arange(24).reshape(2, 12)
    results = []
    for _ in range(2):
        llm.zero_grad()
        loss = llm(ids, labels=ids).loss
        loss.backward()
        results.append((loss.item(), [param.grad.clone() for param in llm.parameters() if param.grad is not None]))
        compile_layers(llm, backend="aot_eager")  # traced and differentiated as for real, no C++ compiler
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5) and results[0][1]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(results[0][1], results[1][1], strict=True))


def test_loading_a_model_and_its_adapter_shows_no_bars_and_no_warnings(
    tiny_llm: Path, tmp_path: Path, capfd: pytest.CaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    config = LLMConfig(source=str(tiny_llm))
    save_lora(attach_lora(load_llm(config, torch.float32), LoRAConfig()), tmp_path, base_model=str(tiny_llm))
    load_lora(load_llm(config, torch.float32), tmp_path, is_trainable=True)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []
