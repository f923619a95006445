"""What a judging would cost, before the first call."""

from __future__ import annotations

from pathlib import Path

from tuna_eval.judge.engine_judge import EngineComparer
from tuna_eval.judge.factory import OpenJudge
from tuna_eval.judge.judgment_log import JudgmentLog
from tuna_eval.judge.likelihood import LikelihoodComparer
from tuna_eval.judging.judging import Match, judging_folder, pending_asks
from tuna_eval.llm.api_engine import ApiEngine
from tuna_eval.llm.batch_engine import BatchEngine
from tuna_eval.llm.estimate import Estimate, estimate_cost, token_counter

MEAN_REPLY_TOKENS = 250  # of the 1,040 reviews of 2023, counted as characters / 3.6


def estimate_judging(match: Match, opened: OpenJudge, run_folder: Path) -> Estimate | None:
    """Requests, tokens and cost of the judgments that are not made yet; None for a judge that no server is asked for.

    Nothing is written.

    Args:
        match: what to judge.
        opened: the judge; it is not asked.
        run_folder: whose earlier judgments are not paid for again.
    """
    comparer, engine = opened.comparer, opened.engine
    if not isinstance(engine, ApiEngine | BatchEngine) or not isinstance(comparer, EngineComparer | LikelihoodComparer):
        return None
    folder = judging_folder(run_folder, match, comparer)
    log = JudgmentLog(folder.judgments_file, match.answered, match.pairs_sha256)
    log.read()
    others = folder.logs_of_the_same_judge(comparer.fingerprint())
    reused = {(judgment.id, judgment.order, judgment.repeat) for judgment in log.reusable(others)}
    pending = pending_asks(match, match.answered, comparer, opened.rules, log)
    asks = [ask for ask in pending if (ask.pair.question.id, ask.order, ask.repeat) not in reused]
    writes = isinstance(comparer, EngineComparer)
    limit = comparer.max_new_tokens if isinstance(comparer, EngineComparer) else 1
    counter = token_counter(comparer.name, is_chat=writes, encoder=engine.encoder)
    price = opened.price
    if price is not None and isinstance(engine, BatchEngine):
        price = price.batch_price()
    return estimate_cost(
        comparer.prompts(asks),
        limit,
        counter,
        price=price,
        mean_reply_tokens=min(MEAN_REPLY_TOKENS, limit),
    )
