"""What judges said of a run: verdicts, every reply, biases and coverage."""

from __future__ import annotations

from typing import Any

from tuna_eval.judge.factory import JudgeOptions, open_rules
from tuna_eval.judge.judgment_log import JudgmentLog
from tuna_eval.judge.protocols import Judgment, Question
from tuna_eval.judging.folder import JudgingFolder, stored_choices
from tuna_eval.report.comparable import judging_of
from tuna_eval.report.page.chunks import Chunks
from tuna_eval.report.page.prompts import RunPrompts
from tuna_eval.report.page.samples import Samples
from tuna_eval.report.runs import StoredRun

# Of judging.json, what the page shows; `results` is a `JudgingReport`.
_SHOWN = ("judging_id", "status", "judge", "signature", "repeats", "reused", "started", "finished", "usage", "price")


def pack_judgings(run: StoredRun, samples: Samples, prompts: RunPrompts, chunks: Chunks) -> list[dict[str, Any]]:
    """Every judging of a run that came to results, the one that its record tells of first.

    Args:
        run: of Vicuna QA; other runs have none.
        samples: its answers.
        prompts: with the questions, if they are at hand.
        chunks: get one piece a judging, with its transcripts.

    Raises:
        DataError, StoreError: a judging's files are broken.
    """
    named = judging_of(run.record).get("judging_id")
    places = sorted(file.parent for file in run.folder.path.glob("judged/*/judging.json"))
    found = []
    for place in sorted(places, key=lambda place: place.name != named):
        folder = JudgingFolder(place)
        record = folder.read_record()
        if "results" in record:
            found.append(
                {key: record.get(key) for key in _SHOWN}
                | {
                    "baseline": record.get("given", {}).get("baseline", ""),
                    "counts": place.name == named,
                    "identity": record.get("identity", {}),
                    "agreement": record.get("agreement"),
                    "results": record["results"],
                    "transcripts": chunks.add(_transcripts(folder, samples, prompts)),
                }
            )
    return found


def _transcripts(folder: JudgingFolder, samples: Samples, prompts: RunPrompts) -> list[dict[str, Any]]:
    """Each judged question with both answers, its verdict, and what the judge replied, read as the verdict was."""
    choices = stored_choices(folder.path)
    rules = open_rules(JudgeOptions("", choices.protocol, choices.parser, choices.orders))
    baseline, states = folder.baseline_answers(), folder.states()
    texts = {id: text for task in prompts.sources.values() for id, text in task.items()}
    answers = {id: (task, sample.output) for task, own in samples.items() for id, sample in own.items()}
    questions = [Question(id, answers.get(id, ("", ""))[0], texts.get(id, "")) for id in baseline]
    log = JudgmentLog(folder.judgments_file, questions)
    log.read()
    return [
        {
            "id": question.id,
            "category": question.category,
            "question": question.text,
            "candidate": answers.get(question.id, ("", None))[1],
            "baseline": baseline[question.id],
            "state": states.get(question.id, ""),
            "judgments": [_shown(rules.reread(judgment, question)) for judgment in judgments],
        }
        for question, judgments in log.of(questions)
    ]


def _shown(judgment: Judgment) -> dict[str, Any]:
    return {
        "order": judgment.order,
        "repeat": judgment.repeat,
        "state": judgment.state,
        "scores": judgment.scores,
        "confidence": judgment.confidence,
        "finish": judgment.finish_reason,
        "model": judgment.served_model,
        "cut": judgment.cut_tokens,
        "reply": judgment.reply,
    }
