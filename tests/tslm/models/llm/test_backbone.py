from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaForCausalLM, Phi3Config

from tslm.config.schema import LLMConfig, LoRAConfig
from tslm.models.llm.backbone import attach_lora, compile_layers, load_llm, load_lora, load_tokenizer, save_lora


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


def build_fused() -> Any:
    """A Phi-3, whose attention and MLP have one matrix for what a Llama has three and two for."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    return AutoModelForCausalLM.from_config(Phi3Config(vocab_size=64, num_hidden_layers=2, pad_token_id=0, **sizes))


def test_modules_that_the_model_has_not_are_named_with_those_that_it_has() -> None:
    fused = build_fused()
    with pytest.raises(
        ValueError, match=r"model\.lora\.target_modules names: q_proj \(in none of 2 layers\)"
    ) as caught:
        attach_lora(fused, LoRAConfig())
    said = str(caught.value)
    assert [name in said.split(";")[0] for name in ("k_proj", "v_proj", "gate_proj", "up_proj")] == 4 * [True]
    assert "down_proj" not in said.split(";")[0]
    assert said.endswith("it has model.lora.target_modules=[down_proj,gate_up_proj,o_proj,qkv_proj]")
    adapted = attach_lora(fused, LoRAConfig(target_modules=("down_proj", "gate_up_proj", "o_proj", "qkv_proj")))
    assert sum("lora_A" in name for name, _ in adapted.named_parameters()) == 8


def test_the_convolutions_of_a_gpt2_are_named_as_its_modules() -> None:
    gpt2 = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4))
    with pytest.raises(ValueError, match=r"it has model\.lora\.target_modules=\[c_attn,c_fc,c_proj\]"):
        attach_lora(gpt2, LoRAConfig())


def test_a_module_of_some_layers_alone_is_adapted_where_its_name_says_so(tiny_llm: Path) -> None:
    llm = LlamaForCausalLM.from_pretrained(tiny_llm)
    del llm.model.layers[1].self_attn.q_proj
    with pytest.raises(ValueError, match=r"names: q_proj \(in 1 of 2 layers\);"):
        attach_lora(llm, LoRAConfig())
    adapted = attach_lora(llm, LoRAConfig(target_modules=("self_attn.q_proj", "up_proj")))
    assert sum("lora_A" in name for name, _ in adapted.named_parameters()) == 3


def test_adapters_of_another_model_are_refused(tiny_llm: Path, tmp_path: Path) -> None:
    llm = AutoModelForCausalLM.from_pretrained(tiny_llm)
    save_lora(attach_lora(llm, LoRAConfig()), tmp_path, base_model=str(tiny_llm))
    other = LlamaForCausalLM.from_pretrained(tiny_llm)
    del other.model.layers[1].self_attn.q_proj
    with pytest.raises(ValueError, match=r"has no layer for: q_proj \(2 tensors.*llm\.source") as caught:
        load_lora(other, tmp_path, is_trainable=False)
    assert "\n" not in str(caught.value)


def test_adapters_of_some_modules_alone_are_refused(tiny_llm: Path, tmp_path: Path) -> None:
    llm = AutoModelForCausalLM.from_pretrained(tiny_llm)
    save_lora(attach_lora(llm, LoRAConfig(target_modules=("q_proj",))), tmp_path, base_model=str(tiny_llm))
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace('"q_proj"', '"q_proj", "up_proj"'))
    with pytest.raises(ValueError, match=r"lacks adapters: up_proj \(4 tensors"):
        load_lora(AutoModelForCausalLM.from_pretrained(tiny_llm), tmp_path, is_trainable=False)


def test_a_tokenizer_without_an_end_token_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny_llm).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no end token.*eos_token in .*tokenizer_config\.json"):
        load_tokenizer(LLMConfig(source=str(tmp_path)))
