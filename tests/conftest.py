"""A tiny random model and tokenizer, made on the fly: nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

pytest_plugins = ["budget"]

VOCABULARY = 512

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = [
    "Translate the following English text to German. Keep placeholders and tags exactly as they are.",
    "Reply with the translation only. State the final answer to the following arithmetic problem.",
    "Write one short sentence about the sea. Use lowercase letters only. Use at most twelve words.",
    "Der Name darf höchstens %(max)d Zeichen lang sein. Bitte geben Sie eine gültige Adresse ein.",
    "Este campo es obligatorio. Introduzca un número entero válido entre uno y diez.",
    "Le mot de passe doit contenir au moins huit caractères. Veuillez réessayer plus tard.",
    "The quick brown fox jumps over the lazy dog, and the old bridge keeps quiet in the rain.",
    "Выберите правильный вариант. Это поле обязательно для заполнения.",
    "这个字段是必填项。请输入一个有效的日期。",
    "user system assistant helpful answer question number zero one two three four five six seven eight nine ten",
]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of exactly VOCABULARY tokens, with a ChatML template; <|im_end|> ends and pads."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=CHATML,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def save_tiny(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Writes a Hugging Face folder as it stands on the hub."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_sizes(tokenizer: PreTrainedTokenizerFast) -> dict[str, object]:
    """Two layers; heads of 32, the smallest that vLLM's CPU attention knows."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "dtype": "float32",
    }


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama with 512 tokens and positions, float32."""
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**tiny_sizes(tokenizer)))
    return save_tiny(tmp_path_factory.mktemp("tiny") / "llama", model, tokenizer)


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Qwen2 (biases in the attention), with the same sizes and tokenizer."""
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(**tiny_sizes(tokenizer)))
    return save_tiny(tmp_path_factory.mktemp("tiny") / "qwen2", model, tokenizer)


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, dict[str, object]], Path]:
    """Makes the folder of a random model with the same sizes and tokenizer, of a `model_type` with changes."""

    def make(family: str, changes: dict[str, object]) -> Path:
        tokenizer = make_tokenizer()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **tiny_sizes(tokenizer) | changes))
        return save_tiny(tmp_path_factory.mktemp("tiny") / family, model, tokenizer)

    return make


@pytest.fixture(scope="session")
def tiny_reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random reward model with the same sizes and tokenizer, whose rewards differ from answer to answer."""
    tokenizer = make_tokenizer()
    sizes = tiny_sizes(tokenizer) | {"tie_word_embeddings": False, "initializer_range": 0.2, "num_labels": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForSequenceClassification(LlamaConfig(**sizes))
    return save_tiny(tmp_path_factory.mktemp("tiny") / "reward", model, tokenizer)


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of `tiny_model`."""
    return AutoTokenizer.from_pretrained(tiny_model)
