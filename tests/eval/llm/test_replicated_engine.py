"""Data parallelism: every prompt answered once, whatever the replicas do; a dead one is an error, never a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tuna_eval.errors import ConfigError, EngineError
from tuna_eval.llm.engine import SamplingParams
from tuna_eval.llm.placement import place_replicas
from tuna_eval.llm.replicated_engine import ReplicatedEngine
from tuna_eval.schema import JSON, Completion, ContinuationRequest, ContinuationScore, Prompt

GREEDY = SamplingParams()


class ShoutingEngine:
    """Answers in capitals, and says in which process and chunk; some words make it fail."""

    name = "shouting"
    encoder = None
    chat = None

    def __init__(self) -> None:
        self.calls = 0

    def max_prompt_tokens(self, max_new_tokens: int) -> int | None:
        return 100 - max_new_tokens

    def fingerprint(self) -> Mapping[str, JSON]:
        return {"engine": self.name}

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> Iterator[Completion]:
        self.calls += 1
        for index, prompt in reversed(list(enumerate(prompts))):
            match prompt.text.split()[0]:
                case "slow":
                    time.sleep(0.05)
                case "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "leave":
                    sys.exit(7)
                case "refuse":
                    raise EngineError("it refuses", cure="ask again")
            cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
            place = f"{os.getpid()}|{self.calls}|{os.environ['OMP_NUM_THREADS']}|{cores}"
            yield Completion(index, f"{prompt.text.upper()}|{place}", None, "stop", None, params.max_new_tokens)

    def score(self, requests: Sequence[ContinuationRequest]) -> Iterator[ContinuationScore]:
        for index, request in enumerate(requests):
            yield ContinuationScore(index, -float(len(request.continuation)), None, None, None)

    def close(self) -> None:
        pass


def two_replicas() -> ReplicatedEngine:
    return ReplicatedEngine(ShoutingEngine, replicas=2, devices_per_replica=1, front=ShoutingEngine())


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture(scope="module")
def engine() -> Iterator[ReplicatedEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        replicated = two_replicas()
        yield replicated
        replicated.close()


def numbered(word: str, count: int) -> list[Prompt]:
    """Prompts out of order, so that sorting them moves every one."""
    return [Prompt(f"{word} {(i * 37) % count:04d}") for i in range(count)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_prompt_is_answered_once_by_both_replicas(engine: ReplicatedEngine) -> None:
    prompts = numbered("slow", 60)
    replies = {c.index: c for c in engine.generate(prompts, SamplingParams(max_new_tokens=5))}
    assert sorted(replies) == list(range(60))
    assert all(replies[i].text.split("|")[0] == prompt.text.upper() for i, prompt in enumerate(prompts))
    assert {reply.prompt_tokens for reply in replies.values()} == {5}, "the decoding parameters travel along"
    assert len({reply.text.split("|")[1] for reply in replies.values()}) == 2


def test_a_chunk_is_a_run_of_neighbours_in_sorted_order(engine: ReplicatedEngine) -> None:
    prompts = numbered("word", 1000)
    ranks = {prompt.text.upper(): rank for rank, prompt in enumerate(sorted(prompts, key=lambda p: p.text))}
    chunks: dict[tuple[str, str], list[int]] = defaultdict(list)
    for completion in engine.generate(prompts, GREEDY):
        text, pid, call, *_ = completion.text.split("|")
        chunks[pid, call].append(ranks[text])
    sizes = [len(chunk) for chunk in chunks.values()]
    assert all(max(chunk) - min(chunk) + 1 == len(chunk) for chunk in chunks.values())
    assert len(chunks) >= 4, "work is left to balance"
    assert sorted(sizes)[-2:] == [187, 250], "half a fair share of what is left: 1000 / 4, 750 / 4"


def test_replicas_have_cores_of_their_own(engine: ReplicatedEngine) -> None:
    places = {c.text.split("|")[1]: c.text.split("|")[3:] for c in engine.generate(numbered("slow", 40), GREEDY)}
    shares = [set(cores.split(",")) for _, cores in places.values()]
    available = os.sched_getaffinity(0)
    if len(available) < 2:
        pytest.skip("needs two processor cores")
    assert set.union(*shares) == {str(core) for core in available}
    assert set.intersection(*shares) == set()
    assert [int(threads) for threads, _ in places.values()] == [len(share) for share in shares]


def test_scores_are_shared_out_too(engine: ReplicatedEngine) -> None:
    requests = [ContinuationRequest(Prompt(str(i % 7)), "x" * i) for i in range(150)]
    scores = {score.index: score.logprob for score in engine.score(requests)}
    assert scores == {i: -float(i) for i in range(150)}


def test_a_call_that_is_given_up_leaves_the_engine_usable(engine: ReplicatedEngine) -> None:
    given_up = engine.generate(numbered("slow", 400), GREEDY)
    next(given_up)
    given_up.close()
    begin = time.monotonic()
    replies = list(engine.generate(numbered("after", 100), GREEDY))
    assert sorted(c.index for c in replies) == list(range(100))
    assert all(c.text.startswith("AFTER") for c in replies)
    assert time.monotonic() - begin < 4, "the 400 slow prompts were not finished first (that takes 10 s)"


def test_only_one_call_runs_at_a_time(engine: ReplicatedEngine) -> None:
    first = engine.generate(numbered("slow", 10), GREEDY)
    next(first)
    with pytest.raises(RuntimeError, match="finish or close"):
        next(engine.generate(numbered("word", 10), GREEDY))
    assert len(list(first)) == 9


def test_everything_but_the_work_is_the_single_engines(engine: ReplicatedEngine) -> None:
    assert (engine.name, engine.encoder, engine.chat) == ("shouting", None, None)
    assert engine.max_prompt_tokens(30) == 70
    assert engine.fingerprint() == ShoutingEngine().fingerprint()
    assert list(engine.generate([], GREEDY)) == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("die", r"replica \d of 2 was killed by SIGKILL \(exit code -9\)"),
        ("leave", r"replica \d of 2 ended with exit code 7"),
        ("refuse", r"^it refuses; ask again$"),
    ],
)
def test_a_failing_replica_is_an_error_and_nothing_is_left_running(word: str, message: str) -> None:
    engine = two_replicas()
    # in sorted order the failing prompt ("d", "l", "r") is in the middle of its chunk; the other replica is slow
    prompts = [*numbered("a", 100), Prompt(word), *numbered("slow", 400)]
    answered: list[Completion] = []
    with pytest.raises(EngineError, match=message):
        answered.extend(engine.generate(prompts, GREEDY))
    assert answered, "replies that were there were handed on"
    assert 100 not in {completion.index for completion in answered}
    assert not any(is_running(int(completion.text.split("|")[1])) for completion in answered)


def test_replicas_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_replicated_engine import GREEDY, numbered, two_replicas\n"
        "if __name__ == '__main__':\n"
        "    for completion in two_replicas().generate(numbered('slow', 4000), GREEDY):\n"
        "        print(completion.text.split('|')[1], flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids: set[int] = set()
    while len(pids) < 2:
        line = parent.stdout.readline()
        assert line, "the parent ended early"
        pids.add(int(line))
    assert all(map(is_running, pids))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def test_each_replica_sees_its_own_slice_of_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5, 6,GPU-7")
    slices = [dict(placement.variables) for placement in place_replicas(2, 2)]
    assert slices == [{"CUDA_VISIBLE_DEVICES": "4,5"}, {"CUDA_VISIBLE_DEVICES": "6,GPU-7"}]
    with pytest.raises(ConfigError, match="3 replicas of 2 GPUs need 6, and 4 are visible"):
        place_replicas(3, 2)


def test_more_replicas_than_cores_have_one_core_each() -> None:
    cores = sorted(os.sched_getaffinity(0))
    placements = place_replicas(len(cores) + 1, 1)
    assert all(len(placement.cores) == 1 for placement in placements)
    assert set().union(*(placement.cores for placement in placements)) <= set(cores)
