"""The prompt formats, to the last newline. The one place in the project that defines them; training uses the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from tuna_eval.errors import ConfigError
from tuna_eval.llm.engine import ChatRenderer
from tuna_eval.schema import Prompt

FormatName = Literal["alpaca", "chat", "plain"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


class RendersChat(Protocol):
    """What a format asks of a model: its chat template. Engines and their tokenizers have it."""

    @property
    def chat(self) -> ChatRenderer | None:
        """Renders one user turn; None for a model without a template."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A text around an instruction.

    Attributes:
        name: as users write it.
        without_input: has the field {instruction}.
        with_input: has the fields {instruction} and {input}.
    """

    name: str
    without_input: str
    with_input: str

    def render(self, instruction: str, input: str = "") -> str:
        """The prompt for an instruction and, if it is not empty, its input."""
        if input:
            return self.with_input.format(instruction=instruction, input=input)
        return self.without_input.format(instruction=instruction)


_TASK = "Below is an instruction that describes a task"
_REQUEST = "Write a response that appropriately completes the request."

# Stanford Alpaca's wording; Tuna trained on it with nothing after the last colon (LMOps tuna/, data files).
ALPACA = PromptTemplate(
    name="alpaca",
    without_input=f"{_TASK}. {_REQUEST}\n\n### Instruction:\n{{instruction}}\n\n### Response:",
    with_input=(
        f"{_TASK}, paired with an input that provides further context. {_REQUEST}\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
    ),
)
PLAIN = PromptTemplate(name="plain", without_input="{instruction}", with_input="{instruction}\n{input}")


def choose_format(requested: str, engine: RendersChat) -> FormatName:
    """The format to use: `requested`, or for "auto" chat if the model has a chat template, else alpaca.

    Raises:
        ConfigError: unknown format, or "chat" for a model without a template.
    """
    if requested == "auto":
        return "chat" if engine.chat else "alpaca"
    if requested == "chat" and not engine.chat:
        raise ConfigError(
            "the model's tokenizer has no chat template", place="--format chat", cure="use --format alpaca or plain"
        )
    for name in FORMATS:
        if name == requested:
            return name
    allowed = ", ".join(("auto", *FORMATS))
    raise ConfigError(f"unknown prompt format {requested!r}", place="--format", cure=f"use one of {allowed}")


def render(text: str, format: FormatName, engine: RendersChat, system: str = "", *, as_is: bool = False) -> Prompt:
    """The rendered prompt for a source text: as it is in the plain format, else without white space around it.

    Args:
        text: what a user would write.
        format: one of `FORMATS`.
        engine: whose chat template is used.
        system: a system message; formats that know none have it above the text, a blank line between.
        as_is: keep the white space around the text in every format, for prompts that are fixed to the last newline.

    Raises:
        ConfigError: "chat" for a model without a template.
    """
    if format != "plain" and not as_is:
        text = text.strip()
    if format == "chat":
        if engine.chat is None:
            raise ConfigError("the model has no chat template", cure="use --format alpaca or plain")
        return Prompt(engine.chat(text, system), has_special_tokens=True, system=system)
    above = f"{system}\n\n" if system else ""
    return Prompt((PLAIN if format == "plain" else ALPACA).render(above + text))


def render_instruction(
    instruction: str, input: str, format: FormatName, engine: RendersChat, system: str = ""
) -> Prompt:
    """The rendered prompt for an instruction and its input ("" for none), as models are trained on it.

    An input has its own place in the Alpaca format and follows the instruction in others; see `render`.

    Raises:
        ConfigError: "chat" for a model without a template.
    """
    if format == "alpaca":
        above = f"{system}\n\n" if system else ""
        return Prompt(ALPACA.render(above + instruction.strip(), input.strip()))
    return render(PLAIN.render(instruction, input), format, engine, system)
