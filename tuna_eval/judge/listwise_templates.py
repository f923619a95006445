"""The text around an instruction and the responses that a judge is to rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuna_eval.errors import DataError
from tuna_eval.judge.templates import OWN, JudgePrompt, fields_of, read_texts
from tuna_eval.llm.prompts import ALPACA, PLAIN

_REQUIRED = {"responses"}
_ONE_OF = {"prompt", "instruction"}
_FIELDS = _REQUIRED | _ONE_OF | {"count", "labels", "all", "last", "example"}
_LETTERS = "ijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class RankingTemplate:
    """The texts of a ranking prompt.

    Attributes:
        system: the system message; it has no fields.
        user: has the field {responses}, and {prompt} (instruction and input in Alpaca's words, as in Tuna's Table 9)
            or {instruction} (the same as a user would write them); perhaps {count}, {labels} ("0/1/2/3"), {last} (the
            label of the judge's own response), {all} ("0/1/2/3/4") and {example} ("i, j, k, l, m"); other braces are
            doubled.
    """

    system: str
    user: str

    def render(self, instruction: str, input: str, responses: Sequence[str]) -> JudgePrompt:
        """The prompt for responses in the order they are to be shown in; braces in the texts are left as they are."""
        count = len(responses)
        labels = [str(label) for label in range(count + 1)]
        letters = [_LETTERS[i] if i < len(_LETTERS) else f"x{i}" for i in range(count + 1)]
        texts = {
            "prompt": ALPACA.render(instruction, input),
            "instruction": PLAIN.render(instruction, input),
            # Table 9 and the released script: a line with the label, the response, and a blank line after it.
            "responses": "\n".join(f"###Response {label}:\n{text}\n" for label, text in enumerate(responses)),
            "count": str(count),
            "labels": "/".join(labels[:-1]),
            "all": "/".join(labels),
            "last": labels[-1],
            "example": ", ".join(letters),
        }
        return JudgePrompt(self.system, self.user.format_map(texts))


def ranking_template(file: Path | None = None) -> RankingTemplate:
    """The texts of a file of ranking prompts, or the project's own wording.

    Args:
        file: YAML with `system` and `user` under "general", as `prompts/contextual-ranking.yaml`; None for that one.
            Who has the released wording can bring it in this form.

    Raises:
        DataError: there is no such file, or it is not in this form.
    """
    file = file or OWN / "contextual-ranking.yaml"
    texts = read_texts(file).get("general")
    if texts is None:
        raise DataError("no prompt for general", place=str(file), cure="write system and user texts under general")
    fields = fields_of(texts.user, str(file))
    if not (fields >= _REQUIRED and fields & _ONE_OF and fields <= _FIELDS):
        problem = f"a ranking prompt has the fields {', '.join(sorted(fields)) or 'none'}"
        cure = f"it needs responses, and prompt or instruction; known are {', '.join(sorted(_FIELDS))}"
        raise DataError(problem, place=str(file), cure=cure)
    return RankingTemplate(texts.system, texts.user)
