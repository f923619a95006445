"""Examples as token ids: the prompts that evaluation gives the model, and responses that end as its replies do."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.encoder import HFEncoder
from tuna_eval.llm.prompts import FormatName, render_instruction
from tuna_eval.schema import Prompt
from tuna_train.data.formats import read_examples
from tuna_train.data.ranked import RankedExample

if TYPE_CHECKING:
    from tuna_train.packing import TokenizedInstruction

Purpose = Literal["imitate", "pairs", "rank", "score"]
"""Which responses are wanted: the original; the ranked candidates; these and the original if there is one; all."""

ORIGINAL = "original"  # source of a candidate that is the response that the instruction came with
_CHUNK = 512  # examples that the tokenizer gets at once
_NO_ORIGINAL = -1


@dataclass(frozen=True, slots=True)
class Responses:
    """The responses of an example that one purpose wants.

    Attributes:
        texts: those that have a rank, and behind them the original if it is none of them.
        ranks: of the former.
        original: which of `texts` is the original; None if none is.
        sources: who wrote each of `texts`.
    """

    texts: tuple[str, ...]
    ranks: tuple[int, ...]
    original: int | None
    sources: tuple[str, ...]


def responses_of(example: RankedExample, purpose: Purpose) -> Responses:
    """The responses that a purpose wants; for "score" every candidate is given a rank, whatever it has."""
    candidates = {"imitate": (), "score": example.candidates}.get(purpose, example.ranked)
    texts, sources = [c.text for c in candidates], [c.source for c in candidates]
    ranks = tuple(c.rank or 0 for c in candidates)
    said = next((c.text for c in example.candidates if c.source == ORIGINAL), None)
    own = said if example.original is None else example.original
    if own is None or purpose == "pairs":
        return Responses(tuple(texts), ranks, None, tuple(sources))
    same = [place for place, text in enumerate(texts) if text == own]
    if not same:
        return Responses((*texts, own), ranks, len(texts), (*sources, ORIGINAL))
    place = next((place for place in same if sources[place] == ORIGINAL), same[0])
    return Responses(tuple(texts), ranks, place, tuple(sources))


class ExampleEncoder:
    """Renders and tokenises examples as evaluation does.

    Prompt and response are tokenised apart, as the engines and the likelihood judge do it: no token spans the seam.

    Args:
        tokenizer: of the model, as evaluation uses it.
        format: of the prompts.
        max_length: tokens of a prompt and one response.
    """

    def __init__(self, tokenizer: HFEncoder, format: FormatName, max_length: int) -> None:
        self.tokenizer, self.format, self.max_length = tokenizer, format, max_length

    def prompt(self, example: RankedExample) -> Prompt:
        """The rendered prompt; an input has its own place in the Alpaca format and follows the instruction in others.

        Raises:
            ConfigError: the chat format for a model without a template.
        """
        return render_instruction(example.instruction, example.input, self.format, self.tokenizer)

    @cached_property
    def end_id(self) -> int:
        """The token that ends a response: what stops generation, in the chat format the template's end of turn.

        Raises:
            ConfigError: the tokenizer has no end-of-sequence token, or the template cannot render a reply.
        """
        if self.format == "chat":
            written = self.tokenizer.tokenizer(self._behind_a_reply(), add_special_tokens=False).input_ids
            ends = [id for id in written if id in self.tokenizer.stop_ids]
            if ends:
                return int(ends[0])
        eos = self.tokenizer.tokenizer.eos_token_id
        if eos is None:
            raise ConfigError(
                "the tokenizer has no end-of-sequence token",
                place=str(self.tokenizer.folder),
                cure="set eos_token in its tokenizer_config.json",
            )
        return int(eos)

    def _behind_a_reply(self) -> str:
        """What the chat template writes behind an assistant's turn."""
        from jinja2 import TemplateError

        reply = "Reply."
        turns = [{"role": "user", "content": "Question?"}, {"role": "assistant", "content": reply}]
        try:
            text = str(self.tokenizer.tokenizer.apply_chat_template(turns, tokenize=False))
        except TemplateError as fault:
            raise ConfigError(
                f"the chat template cannot render a reply ({fault})",
                place=str(self.tokenizer.folder),
                cure="mend the template, or set format=alpaca or plain",
            ) from fault
        return text.rpartition(reply)[2]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of responses, each with its end."""
        return [[*ids, self.end_id] for ids in self.tokenizer.encode_plain(texts)]


class EncodedExamples(Sequence["TokenizedInstruction"]):
    """Tokenised instructions in flat arrays: 4 bytes a token, whatever the number of examples.

    Attributes:
        names: of the records.
        cut: how many responses lost their end to the length limit.
        responses: how many there are.
        ordered: how many instructions have candidates of different ranks.
        left_out: examples without a ranked candidate (or, to imitate too, an original), from which nothing is learnt.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.cut = self.responses = self.ordered = self.left_out = 0
        self._tokens = array("i")
        self._ends = array("q", [0])  # of each piece (prompt or response), in tokens
        self._pieces = array("q", [0])  # behind each instruction's last piece
        self._ranks = array("h")
        self._ranked = array("q", [0])  # behind each instruction's last rank
        self._originals = array("h")

    def add(self, name: str, prompt: Sequence[int], responses: Sequence[Sequence[int]], wanted: Responses) -> None:
        """Stores an instruction; `responses` are the token ids of `wanted.texts`."""
        for piece in (prompt, *responses):
            self._tokens.extend(piece)
            self._ends.append(len(self._tokens))
        self._pieces.append(len(self._ends) - 1)
        self._ranks.extend(wanted.ranks)
        self._ranked.append(len(self._ranks))
        self._originals.append(_NO_ORIGINAL if wanted.original is None else wanted.original)
        self.names.append(name)
        self.responses += len(responses)
        self.ordered += len(set(wanted.ranks)) > 1

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> TokenizedInstruction:  # type: ignore[override]  # slices are not needed
        from tuna_train.packing import TokenizedInstruction

        first, last = self._pieces[place], self._pieces[place + 1]
        pieces = [self._tokens[self._ends[n] : self._ends[n + 1]].tolist() for n in range(first, last)]
        ranks = self._ranks[self._ranked[place] : self._ranked[place + 1]].tolist()
        prompt, candidates, others = pieces[0], pieces[1 : len(ranks) + 1], pieces[len(ranks) + 1 :]
        number = self._originals[place]
        original = None if number == _NO_ORIGINAL else others[0] if others else number
        return TokenizedInstruction(self.names[place], prompt, candidates, ranks, original)

    @property
    def tokens(self) -> int:
        """Of all prompts and responses."""
        return len(self._tokens)

    @property
    def mean_tokens(self) -> float:
        """Of an instruction with its responses."""
        return self.tokens / len(self) if len(self) else 0.0


def encode_examples(
    examples: Iterable[tuple[str, RankedExample]],
    encoder: ExampleEncoder,
    *,
    purpose: Purpose,
    needs_original: bool = False,
    told: Callable[[int], None] = lambda _: None,
) -> EncodedExamples:
    """Tokenises examples. To rank by, an example without a response to learn from is left out and counted.

    Args:
        examples: what errors call each, and the example.
        encoder: of the model.
        purpose: which responses are wanted.
        needs_original: whether an example without an original response is an error.
        told: called with the number of further examples that are done.

    Raises:
        DataError: names the record that lacks a response, or whose prompt leaves no token for one.
        ConfigError: see `ExampleEncoder`.
    """
    stored = EncodedExamples()
    stream = iter(examples)
    while chunk := list(islice(stream, _CHUNK)):
        _encode_chunk(chunk, encoder, stored, purpose, needs_original)
        told(len(chunk))
    return stored


def _encode_chunk(
    chunk: Sequence[tuple[str, RankedExample]],
    encoder: ExampleEncoder,
    stored: EncodedExamples,
    purpose: Purpose,
    needs_original: bool,
) -> None:
    wanted = [responses_of(example, purpose) for _, example in chunk]
    if purpose in ("pairs", "rank"):  # a judge's reply that could not be read is no fault of the data
        is_used = [bool(one.texts) for one in wanted]
        chunk, wanted = list(compress(chunk, is_used)), list(compress(wanted, is_used))
        stored.left_out += len(is_used) - len(chunk)
    for (name, _), one in zip(chunk, wanted, strict=True):
        _check_responses(name, one, needs_original)
    prompts = encoder.tokenizer.encode_batch([encoder.prompt(example) for _, example in chunk])
    ids = iter(encoder.encode([text for one in wanted for text in one.texts]))
    for (name, _), prompt, one in zip(chunk, prompts, wanted, strict=True):
        room = encoder.max_length - len(prompt)
        if room < 1 or not prompt:
            problem = f"its prompt has {len(prompt)} tokens, which leaves none of {encoder.max_length} for a response"
            raise DataError(problem, place=f"record {name}", cure="raise max_length or leave the record out")
        whole = [next(ids) for _ in one.texts]
        # What is cut loses its end of sequence too: the model shall not learn to stop in mid-sentence.
        stored.cut += sum(len(response) > room for response in whole)
        stored.add(name, prompt, [response[:room] for response in whole], one)


def _check_responses(name: str, wanted: Responses, needs_original: bool) -> None:
    place = f"record {name}"
    if not wanted.texts:
        raise DataError("has no response to learn from", place=place, cure="rank its candidates or leave it out")
    if needs_original and wanted.original is None:
        cure = "give it one, name one with tuna-train data convert --original, or set loss.mle_weight=0"
        raise DataError("has no original response, which MLE imitates", place=place, cure=cure)


def read_files(files: Iterable[Path], limit: int | None = None) -> Iterator[tuple[str, RankedExample]]:
    """The examples of files, one after another, each with what errors call it: its id and file.

    Args:
        files: in any format of `formats.FORMATS`.
        limit: examples in all.

    Raises:
        DataError: see `formats.read_examples`.
    """
    named = ((f"{example.id} of {file.name}", example) for file in files for example in read_examples(file))
    return islice(named, limit)
