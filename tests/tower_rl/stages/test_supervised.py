"""The loop with an in-process learner and feed: no Ray, no DeepSpeed, no model."""

import json

import numpy as np
import pytest

from tower_rl import checkpoint
from tower_rl.checkpoint import CheckpointError
from tower_rl.config.schema import Policy
from tower_rl.config.stages import SftStage
from tower_rl.data.packs import Pack
from tower_rl.data.rows import DataError
from tower_rl.protocols import RunError
from tower_rl.reporting.metrics import read
from tower_rl.runfolder import StageFolder
from tower_rl.stages.diary import Diary
from tower_rl.stages.supervised import train
from tower_rl.types import LmResult, StreamLoss

POLICY = Policy(learning_rate=0.5, schedule="linear", warmup_steps=2)
TIMED = {"tokens_per_second", "flops_share", "memory_gib", "attempt"}


class Killed(BaseException):
    """As sudden as a signal."""


class Learner:
    """One weight that follows the mean of the tokens; every loss depends on all steps before."""

    def __init__(self, dies_at=None, nan_at=None):
        self.weight, self.updates, self.rates, self.dies_at, self.nan_at = 10.0, 0, [], dies_at, nan_at

    def update(self, packs, learning_rate):
        if self.updates == self.dies_at:
            raise Killed
        gap = float(np.mean(np.concatenate([pack.token_ids for pack in packs]))) - self.weight
        self.weight += learning_rate * gap
        self.rates.append(learning_rate)
        loss = float("nan") if self.updates == self.nan_at else gap * gap
        self.updates += 1
        tokens = sum(pack.tokens for pack in packs)
        return LmResult(loss, abs(gap), learning_rate, tokens, tokens - 1, flops_per_token=6.0, peak_flops=1e9)

    def evaluate(self, packs):
        return {pack.stream: StreamLoss(self.weight * pack.tokens, pack.tokens) for pack in packs}

    def save(self, folder):
        (folder / "learner.json").write_text(json.dumps([self.weight, self.updates]))

    def load(self, folder):
        self.weight, self.updates = json.loads((folder / "learner.json").read_text())


class Feed:
    """Step n gives a pack of n + 1 tokens; knows how many tokens it has given."""

    def __init__(self, held_out=("a/de", "a/fr", "b/de"), name="feed"):
        self.given, self.name, self.streams = 0, name, held_out

    def step(self, number):
        self.given += number + 1
        return [pack("a/de", number + 1)]

    def held_out(self):
        return [pack(stream, place + 1) for place, stream in enumerate(self.streams)]

    def metrics(self):
        return {"mixture/a/epochs": self.given / 10}

    def state_dict(self):
        return {"given": self.given, "name": self.name}

    def load_state_dict(self, state):
        if state["name"] != self.name:
            raise DataError("other packs")
        self.given = state["given"]


def pack(stream, tokens):
    return Pack(np.arange(tokens), np.ones(tokens, bool), np.array([tokens]), stream)


def stage(steps=10, **values):
    defaults = {"evaluate_every": 4, "save_every": 3, "keep_last": 2}
    return SftStage(name="sft", kind="sft", steps=steps, **defaults | values)


def run(path, learner, feed=None, settings=None, attempt=1, writes=True):
    settings, folder = settings or stage(), StageFolder(path)
    diary = Diary(folder, settings.name, attempt, settings.keep_last, "float32", writes=writes)
    train(learner, feed or Feed(), diary, POLICY, settings)
    return folder


def plain(path):
    """Rows without what no two runs share."""
    return [{k: v for k, v in row.items() if k not in TIMED and not k.startswith("time/")} for row in read(path)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    learner = Learner()
    return run(tmp_path_factory.mktemp("whole"), learner), learner


def test_every_step_has_a_row(whole):
    folder, learner = whole
    rows = read(folder.metrics)
    assert [row["step"] for row in rows] == list(range(10))
    assert [row["tokens"] for row in rows] == list(range(1, 11))
    assert [row["tokens_trained"] for row in rows] == list(range(10))
    assert [row["mixture/a/epochs"] for row in rows] == [n * (n + 1) / 20 for n in range(1, 11)]
    for row, rate in zip(rows, learner.rates, strict=True):
        assert (row["stage"], row["attempt"], row["learning_rate"]) == ("sft", 1, rate)
        assert row["time/step"] >= row["time/data"] + row["time/train"] > 0
        assert row["tokens_per_second"] == row["tokens"] / row["time/step"]
        assert row["flops_share"] == pytest.approx(6 * row["tokens_per_second"] / 1e9)
        assert row["memory_gib"] > 0


def test_the_learning_rate_is_the_schedules(whole):
    _, learner = whole
    assert learner.rates[:2] == [0.25, 0.5], "two steps of warm-up"
    falls = np.diff(learner.rates[2:])
    assert (falls < 0).all() and falls == pytest.approx(falls[0])


def test_losses_are_those_of_a_plain_loop(whole):
    folder, learner = whole
    weight = 10.0
    for number, row in enumerate(read(folder.metrics)):
        gap = number / 2 - weight  # the mean of 0 .. number
        assert row["loss"] == pytest.approx(gap * gap)
        weight += learner.rates[number] * gap
    assert learner.weight == pytest.approx(weight)


def test_validation_before_the_first_step_at_every_fourth_and_after_the_last(whole):
    rows = read(whole[0].validation)
    assert [row["step"] for row in rows] == [0, 4, 8, 10]
    assert rows[0]["loss"] == 10.0, "of the untrained learner"
    assert {"loss", "loss/a", "loss/b", "loss/a/de", "loss/a/fr", "loss/b/de", "tokens"} <= rows[0].keys()
    assert rows[0]["tokens"] == 6


def test_validation_means_are_by_token(tmp_path):
    class Two(Learner):
        def evaluate(self, packs):
            return {"a/de": StreamLoss(3.0, 1), "a/fr": StreamLoss(3.0, 3), "b/de": StreamLoss(4.0, 8)}

    row = read(run(tmp_path, Two(), settings=stage(1)).validation)[0]
    losses = {key: row[key] for key in row if key.startswith("loss")}
    assert losses == {"loss": 10 / 12, "loss/a": 1.5, "loss/b": 0.5, "loss/a/de": 3.0, "loss/a/fr": 1.0, "loss/b/de": 0.5}


def test_checkpoints_at_every_third_step_and_the_last_of_which_two_are_kept(tmp_path):
    saved = []

    class Notes(Learner):
        def save(self, folder):
            saved.append(folder.name)
            super().save(folder)

    folder = run(tmp_path, Notes())
    assert saved == ["step-3", "step-6", "step-9", "step-10"]
    assert [path.name for path in sorted((folder.path / "checkpoints").iterdir())] == ["step-10", "step-9"]
    assert checkpoint.read_state(checkpoint.latest(folder.path)) == {
        "step": 10,
        "dtype": "float32",
        "feed": {"given": 55, "name": "feed"},
    }


@pytest.mark.parametrize("dies_at", [0, 2, 3, 4, 5, 8, 9])
def test_a_killed_run_goes_on_to_the_same_rows(tmp_path, whole, dies_at):
    with pytest.raises(Killed):
        run(tmp_path, Learner(dies_at))
    learner = Learner()
    folder = run(tmp_path, learner, attempt=2)
    assert plain(folder.metrics) == plain(whole[0].metrics)
    assert plain(folder.validation) == plain(whole[0].validation)
    assert learner.weight == whole[1].weight
    done = dies_at // 3 * 3
    assert [row["attempt"] for row in read(folder.metrics)] == [1] * done + [2] * (10 - done)


def test_rows_past_the_checkpoint_are_kept_and_marked(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, Learner(dies_at=5))
    folder = run(tmp_path, Learner(), attempt=2)
    steps = [(row["step"], row["attempt"]) for row in read(folder.metrics, superseded=True) if row.get("superseded")]
    assert steps == [(3, 1), (4, 1)]
    steps = [(row["step"], row["attempt"]) for row in read(folder.validation, superseded=True) if row.get("superseded")]
    assert steps == [(4, 1)]


def test_a_validation_that_belongs_to_the_checkpoint_stays(tmp_path):
    settings = stage(save_every=4)
    with pytest.raises(Killed):
        run(tmp_path, Learner(dies_at=5), settings=settings)
    folder = run(tmp_path, Learner(), settings=settings, attempt=2)
    assert [(row["step"], row["attempt"]) for row in read(folder.validation, superseded=True)] == [
        (0, 1),
        (4, 1),
        (8, 2),
        (10, 2),
    ]


def test_without_a_checkpoint_everything_begins_anew(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, Learner(dies_at=2))
    folder = run(tmp_path, Learner(), attempt=2)
    assert [row["attempt"] for row in read(folder.metrics)] == [2] * 10
    assert [(row["step"], row["attempt"]) for row in read(folder.validation)] == [(0, 2), (4, 2), (8, 2), (10, 2)]


def test_a_checkpoint_that_was_begun_and_not_committed_is_made_again(tmp_path, whole):
    class Dies(Learner):
        def save(self, folder):
            super().save(folder)
            if folder.name == "step-6":
                raise Killed

    with pytest.raises(Killed):
        run(tmp_path, Dies())
    assert checkpoint.latest(tmp_path).name == "step-3"
    folder = run(tmp_path, Learner(), attempt=2)
    assert plain(folder.metrics) == plain(whole[0].metrics)
    assert [row["attempt"] for row in read(folder.metrics)] == [1] * 3 + [2] * 7


def test_a_finished_stage_does_nothing_more(tmp_path, whole):
    first = run(tmp_path, Learner())
    before = first.metrics.read_bytes(), first.validation.read_bytes()
    learner = Learner(dies_at=10)
    run(tmp_path, learner, attempt=2)
    assert (first.metrics.read_bytes(), first.validation.read_bytes()) == before
    assert learner.weight == whole[1].weight


def test_more_steps_after_the_end(tmp_path):
    run(tmp_path, Learner())
    folder = run(tmp_path, Learner(), settings=stage(12), attempt=2)
    assert [row["step"] for row in read(folder.metrics)] == list(range(12))
    assert [row["step"] for row in read(folder.validation)] == [0, 4, 8, 10, 12]


@pytest.mark.parametrize("nan_at", [0, 4])
def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path, nan_at):
    with pytest.raises(RunError, match=f"the loss of step {nan_at + 1} is not a number"):
        run(tmp_path, Learner(nan_at=nan_at))
    assert [row["step"] for row in read(StageFolder(tmp_path).metrics)] == list(range(nan_at))
    assert [checkpoint.step_of(path) for path in checkpoint.complete(tmp_path)] == ([3] if nan_at else [])


def test_nothing_held_out_is_no_validation(tmp_path):
    folder = run(tmp_path, Learner(), Feed(held_out=()))
    assert read(folder.validation) == []
    assert len(read(folder.metrics)) == 10


def test_other_data_than_the_checkpoints_are_refused(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, Learner(dies_at=5))
    with pytest.raises(DataError, match="other packs"):
        run(tmp_path, Learner(), Feed(name="other"), attempt=2)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, Learner(dies_at=5))
    file = tmp_path / "checkpoints" / "step-3" / "learner.json"
    file.write_text("x" * file.stat().st_size)
    with pytest.raises(CheckpointError, match=r"learner\.json"):
        run(tmp_path, Learner(), attempt=2)


def test_other_ranks_write_no_logs_and_commit_nothing(tmp_path):
    class Silent(Learner):
        def save(self, folder):
            """The first rank makes the folder."""

    folder = run(tmp_path, Silent(), writes=False)
    assert not folder.metrics.exists() and not folder.validation.exists() and not (tmp_path / "checkpoints").exists()
