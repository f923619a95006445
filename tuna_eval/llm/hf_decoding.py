"""Decoding a batch with transformers' `generate`, in short stretches.

Between two stretches the rows that have ended leave the batch, so one rambling reply does not keep the others
computing; the key-value cache goes on to the next stretch. A beginning that all prompts share, as the instances of a
few-shot task do, is computed once. Neither changes a reply.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuna_eval.llm.batching import shared_prefix
from tuna_eval.llm.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch

    from tuna_eval.llm.engine import SamplingParams

STRETCH = 16  # tokens; ended rows wait at most this long, and entering `generate` costs a few milliseconds
PAD = 0  # padding is masked everywhere, so any id the model knows will do; a tokenizer's own may lie beyond its matrix


@dataclass(slots=True)
class Row:
    """A reply in the making.

    Attributes:
        index: position of the prompt in the call.
        prompt: token ids.
        seed: of its sampler; ignored when greedy.
        tokens: generated so far.
        logprobs: log-probability of each, nats.
        finish_reason: "stop" or "length"; empty while unfinished.
    """

    index: int
    prompt: list[int]
    seed: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = ""


class TokenChooser:
    """Chooses each row's next token and notes its log-probability; a logits processor for `generate`.

    It holds one number per row and step, never the logits. When sampling it leaves a single token possible: the
    quantile of the distribution at a number drawn from (seed, prompt, step), so that a reply depends on its own prompt
    and not on the others in the batch, nor on the batch size.
    """

    def __init__(self, rows: Sequence[Row], params: SamplingParams, steps: int) -> None:
        self.params = params
        self.logprobs: list[torch.Tensor] = []
        self._draws = None if params.temperature == 0 else _draws(rows, steps)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores to take the maximum of, given raw logits; both of shape (rows, vocabulary)."""
        import torch
        from torch.nn.functional import cross_entropy

        chosen = scores.argmax(-1, keepdim=True) if self._draws is None else self._sample(scores, self._draws)
        self.logprobs.append(-cross_entropy(scores, chosen[:, 0], reduction="none"))
        if self._draws is None:
            return scores
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen, 0.0)

    def _sample(self, scores: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Token ids, shape (rows, 1), from the nucleus of the tempered distribution."""
        import torch

        probabilities, order = (scores.double() / self.params.temperature).softmax(-1).sort(-1, descending=True)
        mass = probabilities.cumsum(-1)
        nucleus = ((mass - probabilities) < self.params.top_p).sum(-1, keepdim=True)  # its size: at least one token
        total = mass.gather(-1, nucleus - 1)
        target = draws[:, len(self.logprobs), None].to(mass.device) * total
        rank = torch.searchsorted(mass, target, right=True)
        return order.gather(-1, torch.minimum(rank, nucleus - 1))


def _draws(rows: Sequence[Row], steps: int) -> torch.Tensor:
    """Uniform numbers in [0, 1), shape (rows, steps): those of the steps that come next."""
    import torch

    drawn = []
    for row in rows:
        key = hashlib.sha256(f"{row.seed}:{row.prompt}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
        done = len(row.tokens)
        drawn.append(torch.rand(done + steps, generator=generator, dtype=torch.float64)[done:])
    return torch.stack(drawn)


class Decoder:
    """Decodes rows with one model and one set of parameters.

    Args:
        model: a transformers model that generates.
        params: how to decode.
        stop_ids: tokens that end a reply.
        decode: text of token ids, to look for stop strings.
    """

    def __init__(
        self, model: Any, params: SamplingParams, stop_ids: frozenset[int], decode: Callable[[Sequence[int]], str]
    ) -> None:
        self.model, self.params, self.stop_ids, self.decode = model, params, stop_ids, decode
        self.is_encoder_decoder = bool(model.config.is_encoder_decoder)

    def advance(self, rows: Sequence[Row], *, leave: int = 0) -> None:
        """Generates until at most `leave` of the rows are unfinished; results are noted in the rows.

        The unfinished can be given again, with others; the model then reads their prompt and tokens anew.
        """
        import torch

        live = [row for row in rows if not row.finish_reason]
        with torch.inference_mode(), quiet_transformers():
            inputs = self._encoded(live) if self.is_encoder_decoder else self._padded(live)
            while True:
                output = self._stretch(live, inputs)
                keep = [position for position, row in enumerate(live) if not row.finish_reason]
                if len(keep) <= leave:
                    return
                live = [live[position] for position in keep]
                inputs = self._remaining(inputs, output, keep)

    def _stretch(self, live: list[Row], inputs: dict[str, Any]) -> Any:
        import torch
        from transformers import GenerationConfig

        steps = max(self.params.max_new_tokens - len(row.tokens) for row in live)
        if takes(
            self.model, "past_key_values"
        ):  # models with another kind of state cannot be continued: all in one stretch
            steps = min(steps, STRETCH)
        chooser = TokenChooser(live, self.params, steps)
        output = self.model.generate(
            **inputs,
            generation_config=GenerationConfig(
                max_new_tokens=steps,
                do_sample=False,
                eos_token_id=sorted(self.stop_ids) or None,
                pad_token_id=PAD,
                return_dict_in_generate=True,
            ),
            logits_processor=[chooser],
        )
        logprobs = torch.stack(chooser.logprobs, 1).tolist()
        tokens = output.sequences[:, -len(chooser.logprobs) :].tolist()
        for row, new, values in zip(live, tokens, logprobs, strict=True):
            self._append(row, new, values)
        return output

    def _append(self, row: Row, tokens: list[int], logprobs: list[float]) -> None:
        """Takes over what was generated, up to where the reply ends."""
        before = len(row.tokens)
        for token, logprob in zip(tokens, logprobs, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            if token in self.stop_ids:
                row.finish_reason = "stop"
                break
            if len(row.tokens) == self.params.max_new_tokens:
                row.finish_reason = "length"
                break
        if self._has_stop(row.tokens):
            end = next(n for n in range(before + 1, len(row.tokens) + 1) if self._has_stop(row.tokens[:n]))
            del row.tokens[end:], row.logprobs[end:]
            row.finish_reason = "stop"

    def _has_stop(self, tokens: Sequence[int]) -> bool:
        return bool(self.params.stop) and any(stop in self.decode(tokens) for stop in self.params.stop)

    def _padded(self, live: list[Row]) -> dict[str, Any]:
        """Decoder-only inputs: padded before each sequence, or between the beginning all share and the rest."""
        import torch

        sequences = [row.prompt + row.tokens for row in live]
        shared = shared_prefix(sequences) if shares_prefixes(self.model) else 0
        longest = max(map(len, sequences))
        ids = [s[:shared] + [PAD] * (longest - len(s)) + s[shared:] for s in sequences]
        mask = [[1] * shared + [0] * (longest - len(s)) + [1] * (len(s) - shared) for s in sequences]
        device = self.model.device
        inputs = {
            "input_ids": torch.tensor(ids, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }
        if shared:
            last = {"logits_to_keep": 1} if takes(self.model, "logits_to_keep") else {}
            cache = self.model(input_ids=inputs["input_ids"][:1, :shared], use_cache=True, **last).past_key_values
            cache.batch_repeat_interleave(len(live))
            inputs["past_key_values"] = cache
        return inputs

    def _encoded(self, live: list[Row]) -> dict[str, Any]:
        """Encoder-decoder inputs: the encoder runs once, padded after each prompt."""
        import torch

        ids, mask = right_padded([row.prompt for row in live], self.model.device)
        start = self.model.generation_config.decoder_start_token_id
        begun = torch.tensor([[start, *row.tokens] for row in live], device=self.model.device)
        return {
            "encoder_outputs": self.model.get_encoder()(input_ids=ids, attention_mask=mask, return_dict=True),
            "attention_mask": mask,
            "decoder_input_ids": begun,
            "decoder_attention_mask": torch.ones_like(begun),  # without it `generate` feeds cached tokens once more
        }

    def _remaining(self, inputs: dict[str, Any], output: Any, keep: list[int]) -> dict[str, Any]:
        """The inputs of the next stretch: the kept rows, what they have generated, and their cache."""
        import torch

        chosen = torch.tensor(keep, device=self.model.device)
        mask = inputs["attention_mask"][chosen]
        sequences = output.sequences[chosen]
        cache = output.past_key_values
        if len(keep) < len(output.sequences):
            cache.reorder_cache(chosen)
        if self.is_encoder_decoder:
            hidden = inputs["encoder_outputs"].last_hidden_state[chosen]
            outputs = type(inputs["encoder_outputs"])(last_hidden_state=hidden)
            ids = {"encoder_outputs": outputs, "decoder_input_ids": sequences}
            ids["decoder_attention_mask"] = torch.ones_like(sequences)
        else:
            grown = mask.new_ones(len(keep), sequences.shape[1] - mask.shape[1])
            mask = torch.cat([mask, grown], 1)
            ids = {"input_ids": sequences}
        return {**ids, "attention_mask": mask, "past_key_values": cache}


def takes(model: Any, argument: str) -> bool:
    """Whether the model's forward pass has an argument of that name."""
    return argument in inspect.signature(model.forward).parameters


def shares_prefixes(model: Any) -> bool:
    """Whether padding may stand between a shared beginning and the rest of each sequence.

    It may where positions are given by argument and every layer sees all that went before: a sliding window would count
    the padding.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if model.config.is_encoder_decoder or not takes(model, "position_ids") or not takes(model, "past_key_values"):
        return False
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def right_padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids padded after their end, and the attention mask; both of shape (sequences, longest)."""
    import torch

    longest = max(map(len, sequences))
    ids = [[*s, *[PAD] * (longest - len(s))] for s in sequences]
    mask = [[1] * len(s) + [0] * (longest - len(s)) for s in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
