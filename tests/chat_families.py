"""Small tokenizers that render chats as the families of models do, made on the fly: nothing is downloaded."""

import json
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

LINES = [
    "Translate the following text to German and reply with the translation only.",
    "What is the capital of France? The capital of France is Paris.",
    "Der Name muss länger sein. Bitte geben Sie eine gültige Adresse ein.",
    "Este campo es obligatorio. Le mot de passe est obligatoire.",
    "Выберите правильный вариант. 这个字段是必填项。",
    "You are a helpful assistant. You are a friendly model. system user assistant model tool",
]

CHATML = """\
{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nDEFAULT<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

# Thoughts stand in the turns behind the last question only; a last turn that has none gets an empty one.
QWEN3 = """\
{%- set ns = namespace(question=0) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.question = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- set thought, answer = '', message.content %}
{%- if message.role == 'assistant' and '</think>' in message.content %}
{%- set thought = message.content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set answer = message.content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.index0 > ns.question and (loop.last or thought) %}
{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}
{%- endif %}
{{- answer + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

_GEMMA_TURNS = """\
{%- for message in turns %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
{{- (first if loop.first else '') + message.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

GEMMA2 = (
    "{{- bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% set turns, first = messages, '' %}" + _GEMMA_TURNS
)

GEMMA3 = (
    "{{- bos_token }}{% set turns, first = messages, '' %}"
    "{% if messages[0].role == 'system' %}{% set turns, first = messages[1:], messages[0].content + '\\n\\n' %}{% endif %}"
    + _GEMMA_TURNS
)

LLAMA2 = """\
{%- for message in messages %}
{%- if message.role == 'user' %}{{ bos_token + '[INST] ' + message.content + ' [/INST]' }}
{%- elif message.role == 'assistant' %}{{ ' ' + message.content + eos_token }}
{%- else %}{{ raise_exception('Only user and assistant roles') }}{% endif %}
{%- endfor %}"""


def byte_level(template: str, *control: str, end: str, begin: str | None = None, plain: tuple[str, ...] = ()):
    """GPT-2's kind of tokenizer; `plain`: added tokens that are no control tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=500, special_tokens=list(control), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_tokens(list(plain))
    return _fast(tokenizer, template, begin, end)


def sentence_pieces(template: str, *control: str, end: str, begin: str):
    """Gemma's kind: spaces are letters, and characters that are not in the vocabulary become their bytes."""
    tokenizer = Tokenizer(BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁[^▁]+|▁"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<pad>", "<unk>", *control]
    octets = [f"<0x{octet:02X}>" for octet in range(256)]
    trainer = BpeTrainer(vocab_size=800, special_tokens=special + octets, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    # The bytes had to be in the vocabulary from the beginning, but are no tokens that a text can name.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    return _fast(Tokenizer.from_str(json.dumps(state)), template, begin, end)


def _fast(tokenizer: Tokenizer, template: str, begin: str | None, end: str) -> PreTrainedTokenizerFast:
    if begin:
        place = (begin, tokenizer.token_to_id(begin))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin} $A", pair=None, special_tokens=[place])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, eos_token=end, chat_template=template, clean_up_tokenization_spaces=False
    )


SMOLLM2_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
QWEN2_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_GEMMA = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
_MAKERS = {
    "smollm2": lambda: byte_level(CHATML.replace("DEFAULT", SMOLLM2_SYSTEM), *_CHATML, end="<|im_end|>"),
    "qwen2": lambda: byte_level(CHATML.replace("DEFAULT", QWEN2_SYSTEM), *_CHATML, end="<|im_end|>"),
    "qwen3": lambda: byte_level(QWEN3, *_CHATML, end="<|im_end|>", plain=("<think>", "</think>")),
    "llama3": lambda: byte_level(LLAMA3, *_LLAMA3, begin="<|begin_of_text|>", end="<|eot_id|>"),
    "gemma2": lambda: sentence_pieces(GEMMA2, *_GEMMA, begin="<bos>", end="<eos>"),
    "gemma3": lambda: sentence_pieces(GEMMA3, *_GEMMA, begin="<bos>", end="<eos>"),
    "llama2": lambda: sentence_pieces(LLAMA2, "<s>", "</s>", begin="<s>", end="</s>"),
}
FAMILIES = tuple(_MAKERS)


@cache
def family(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of one of FAMILIES; the same object each time, so nobody may change it."""
    return _MAKERS[name]()
