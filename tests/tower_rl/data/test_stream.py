"""The prompt stream: order, epochs, mixture, panel, rejects, resuming."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from tower_rl.config.schema import Data
from tower_rl.data.chat import render
from tower_rl.data.rows import DataError
from tower_rl.data.stream import PromptStream


class Files:
    """Makes JSON lines sources and streams of them."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        self.folder = folder
        self.tokenizer = tokenizer
        self.rejects = folder / "deep" / "rejects.jsonl"

    def source(self, name: str, prompts: list[str], **options: Any) -> dict[str, Any]:
        lines = [json.dumps({"id": str(place), "prompt": prompt, "verifier": "v"}) for place, prompt in enumerate(prompts)]
        (self.folder / f"{name}.jsonl").write_text("\n".join(lines))
        return {"kind": "jsonl", "path": str(self.folder / f"{name}.jsonl"), **options}

    def stream(self, sizes: dict[str, int], seed: int = 0, held_out: int = 0, **options: Any) -> PromptStream:
        sources = {name: self.source(name, [f"{name} {place}" for place in range(size)]) for name, size in sizes.items()}
        return self.of(sources, seed, held_out, **options)

    def of(self, sources: dict[str, Any], seed: int = 0, held_out: int = 0, **options: Any) -> PromptStream:
        data = Data.model_validate({"sources": sources, **options})
        return PromptStream(data, seed, self.tokenizer, held_out=held_out, rejects=self.rejects)


@pytest.fixture
def files(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase) -> Files:
    return Files(tmp_path, tiny_tokenizer)


def test_render_is_the_chat_template(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    ids = render(tiny_tokenizer, [{"role": "user", "content": "Hello 中"}])
    assert isinstance(ids, tuple)
    assert tiny_tokenizer.decode(ids) == "<|im_start|>user\nHello 中<|im_end|>\n<|im_start|>assistant\n"


def test_a_template_that_refuses_is_a_data_error(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(DataError, match="refuses the messages: System role not supported"):
        render(tokenizer, [{"role": "system", "content": "x"}])


def test_a_prompt_in_full(files: Files) -> None:
    source = files.source("a", ["x"])
    (files.folder / "a.jsonl").write_text(
        json.dumps(
            {
                "id": "7",
                "prompt": "Hello",
                "verifier": "w",
                "reference": "Hallo",
                "meta": {"source_lang": "en", "target_lang": "de"},
            }
        )
    )
    (prompt,) = files.of({"a": source}, system_prompt="Be brief.").take(1)
    assert prompt.messages == ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"})
    assert prompt.token_ids == render(files.tokenizer, prompt.messages)
    assert (prompt.id, prompt.verifier, prompt.reference, prompt.source) == ("a/7", "w", "Hallo", "a")
    assert (prompt.cursor, prompt.language_pair) == (0, "en-de")


def test_a_system_message_of_its_own_stays(files: Files) -> None:
    messages = [{"role": "system", "content": "Mine."}, {"role": "user", "content": "Hello"}]
    (files.folder / "a.jsonl").write_text(json.dumps({"messages": messages, "verifier": "v"}))
    stream = files.of({"a": {"kind": "jsonl", "path": str(files.folder / "a.jsonl")}}, system_prompt="Be brief.")
    assert stream.take(1)[0].messages == tuple(messages)


def test_cursors_count_and_the_order_depends_on_the_seed_alone(files: Files) -> None:
    sizes = {"a": 20, "b": 7}
    first = files.stream(sizes, seed=3).take(60)
    assert [prompt.cursor for prompt in first] == list(range(60))
    again = files.stream(sizes, seed=3)
    assert [prompt for n in (1, 0, 20, 39) for prompt in again.take(n)] == first
    assert [prompt.id for prompt in files.stream(sizes, seed=4).take(60)] != [prompt.id for prompt in first]


def test_every_epoch_has_each_row_once_and_another_order(files: Files) -> None:
    stream = files.stream({"a": 20, "b": 7}, weights={"b": 3.0})
    ids = [prompt.id for prompt in stream.take(400)]
    for name, size in (("a", 20), ("b", 7)):
        own = [one for one in ids if one.startswith(f"{name}/")]
        epochs = [own[start : start + size] for start in range(0, len(own) - size + 1, size)]
        assert len(epochs) >= 5
        assert all(len(set(epoch)) == size for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("cursor", [0, 1, 26, 27, 28, 100])
def test_resuming_goes_on_where_it_stopped(files: Files, cursor: int) -> None:
    sizes, weights = {"a": 20, "b": 7, "c": 3}, {"a": 1.7, "c": 0.3}
    whole = files.stream(sizes, weights=weights).take(150)
    stopped = files.stream(sizes, weights=weights)
    stopped.take(cursor)
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = files.stream(sizes, weights=weights)
    resumed.take(11)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert resumed.take(150 - cursor) == whole[cursor:]


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"sizes": {"a": 20, "b": 8}},
        {"sizes": {"a": 20}},
        {"weights": {"a": 2.0}},
        {"held_out": 2},
        {"system_prompt": "Be brief."},
    ],
)
def test_resuming_with_other_data_is_refused(files: Files, changed: dict[str, Any]) -> None:
    state = files.stream({"a": 20, "b": 7}).state_dict()
    with pytest.raises(DataError, match="not those of the checkpoint"):
        files.stream(**{"sizes": {"a": 20, "b": 7}, **changed}).load_state_dict(state)


def test_the_mixture_has_the_asked_shares_at_every_point(files: Files) -> None:
    weights = {"a": 5.0, "c": 0.5}
    taken: Counter[str] = Counter()
    for prompt in files.stream({"a": 20, "b": 7, "c": 3}, weights=weights).take(650):
        taken[prompt.source] += 1
        for name, share in (("a", 5 / 6.5), ("b", 1 / 6.5), ("c", 0.5 / 6.5)):
            assert abs(taken[name] - share * (prompt.cursor + 1)) <= 1
    assert taken == {"a": 500, "b": 100, "c": 50}


def test_the_panel_is_even_fixed_and_never_trained_on(files: Files) -> None:
    stream = files.stream({"a": 20, "b": 7}, seed=3, held_out=5)
    panel = stream.held_out()
    assert Counter(prompt.source for prompt in panel) == {"a": 3, "b": 2}
    assert [prompt.cursor for prompt in panel] == [-1, -2, -3, -4, -5]
    assert stream.held_out() == panel
    trained = {prompt.id for prompt in stream.take(200)}
    assert len(trained) == 22
    assert not trained & {prompt.id for prompt in panel}
    assert stream.held_out() == panel
    assert files.stream({"a": 20, "b": 7}, seed=3, held_out=5).held_out() == panel
    assert files.stream({"a": 20, "b": 7}, seed=4, held_out=5).held_out() != panel
    assert files.stream({"a": 20, "b": 7}).held_out() == []


def test_a_held_out_prompt_is_trained_on_in_no_other_source(files: Files) -> None:
    twins = {name: files.source(name, [f"same {place}" for place in range(10)]) for name in ("a", "b")}
    stream = files.of(twins, held_out=4)
    panel = {prompt.token_ids for prompt in stream.held_out()}
    assert panel.isdisjoint(prompt.token_ids for prompt in stream.take(40))


def test_a_panel_that_leaves_nothing_is_an_error(files: Files) -> None:
    with pytest.raises(DataError, match="leaves no row of source 'b': it takes 3 of 3"):
        files.stream({"a": 20, "b": 3}, held_out=6)


def test_rejects_are_counted_and_written(files: Files) -> None:
    source = files.source("a", ["one", "two", "one", "many words " * 60], max_rejects=0.3)
    with (files.folder / "a.jsonl").open("a") as file:
        file.write("\nnot json")
    stream = files.of({"a": source}, max_prompt_tokens=40)
    assert stream.rejected == {"a/bad row": 1, "a/duplicate": 1, "a/too long": 1}
    assert stream.sizes == {"a": 2}
    rejects = [json.loads(line) for line in files.rejects.read_text().splitlines()]
    assert [(reject["source"], reject["reason"]) for reject in rejects] == [
        ("a", "bad row"),
        ("a", "duplicate"),
        ("a", "too long"),
    ]
    assert rejects[0]["place"].endswith("a.jsonl:5")
    assert rejects[1] == {"source": "a", "place": "a/2", "reason": "duplicate", "detail": "the same prompt as a/0"}
    assert "tokens, above 40" in rejects[2]["detail"]


def test_too_many_bad_rows_stop_but_are_written_first(files: Files) -> None:
    source = files.source("a", ["one"])
    (files.folder / "a.jsonl").write_text("{\n" * 3)
    with pytest.raises(DataError, match="3 of 3 rows are bad"):
        files.of({"a": source})
    assert len(files.rejects.read_text().splitlines()) == 3


def test_a_source_without_usable_rows_is_an_error(files: Files) -> None:
    good = files.source("good", ["one", "two"])
    with pytest.raises(DataError, match=r"source 'a' has no usable row: 2 too long; see .*rejects\.jsonl"):
        files.of({"good": good, "a": files.source("a", ["word " * 30, "words " * 30])}, max_prompt_tokens=20)
    with pytest.raises(DataError, match="source 'none' has no usable row: it yields none"):
        files.of({"good": good, "none": files.source("none", [])})


def test_all_kinds_of_sources_in_one_stream(files: Files) -> None:
    sources = {
        "file": files.source("a", ["one", "two"]),
        "django": {"kind": "catalogue", "languages": ["de", "ja"], "verifier": "t"},
        "sums": {"kind": "reasoning_gym", "task": "chain_sum", "size": 30, "verifier": "m"},
        "rules": {"kind": "constraints", "rules": ["max_words", "contains"], "size": 30, "verifier": "c"},
    }
    stream = files.of(sources, held_out=4)
    assert stream.verifiers == {"v", "t", "m", "c"}
    assert Counter(prompt.source for prompt in stream.take(40)) == dict.fromkeys(sources, 10)
    assert {prompt.source for prompt in stream.held_out()} == set(sources)
    assert {prompt.language_pair for prompt in stream.take(400)} == {"en-de", "en-ja", None}
