"""Rows and their layout: who stands where, and who sees whom."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import instructions

from tuna_eval.errors import DataError
from tuna_train.attention import Layout, packed_attention
from tuna_train.losses import UNRANKED
from tuna_train.packing import TokenizedInstruction, collate


def test_a_row_holds_the_prompt_once() -> None:
    batch = collate([TokenizedInstruction("r", [10, 11], [[20, 2], [30, 31, 2]], [1, 0], 0)], packed=True)
    (row,) = batch.rows
    assert row.ids.tolist() == [[10, 11, 20, 2, 30, 31, 2]]
    assert row.positions.tolist() == [[0, 1, 2, 3, 2, 3, 4]]
    assert row.predicting.tolist() == [1, 2, 1, 4, 5]
    assert row.targets.tolist() == [20, 2, 30, 31, 2]
    assert row.response.tolist() == [0, 0, 1, 1, 1]
    assert batch.wanted.rank.tolist() == [1, 0]
    assert batch.wanted.original.tolist() == [True, False]


def test_the_mask_by_hand() -> None:
    """Prompt of two tokens, candidates of two and one, then an instruction of one and one; P, A, B, Q, C below."""
    expected = ["x......", "xx.....", "xxx....", "xxxx...", "xx..x..", ".....x.", ".....xx"]
    mask = Layout.of([(2, [2, 1]), (1, [1])]).mask()
    assert ["".join("x" if seen else "." for seen in line) for line in mask.tolist()] == expected


def test_a_window_counts_positions_not_places() -> None:
    """Window 2: the second candidate's first token sees the prompt's last one, three places before it."""
    mask = Layout.of([(2, [2, 1])]).mask(window=2)
    assert mask[4].tolist() == [False, True, False, False, True]
    assert mask[3].tolist() == [False, False, True, True, False]


def test_flex_attention_has_the_same_mask() -> None:
    from torch.nn.attention.flex_attention import create_mask

    layout = Layout.of([(5, [3, 4]), (2, [6])])
    for window in (None, 3):
        blocks = layout.block_mask(window)
        tokens = len(layout.position)
        assert blocks is layout.block_mask(window)
        assert blocks.shape == (1, 1, tokens, tokens)
        assert torch.equal(create_mask(blocks.mask_mod, 1, 1, tokens, tokens, "cpu")[0, 0], layout.mask(window))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 3])
def test_flex_attention_gives_the_same_output(window: int | None) -> None:
    """The kernel of CUDA in its uncompiled form, which runs anywhere, beside the pieces of other devices."""
    from torch.nn.attention.flex_attention import flex_attention

    layout = Layout.of([(5, [3, 4]), (2, [6, 1])])
    query, key, value = torch.randn(3, 1, 2, len(layout.position), 16)
    pieces, _ = packed_attention(
        torch.nn.Module(), query, key, value, None, packed_layout=layout, sliding_window=window
    )
    whole = flex_attention(query, key, value, block_mask=layout.block_mask(window))
    torch.testing.assert_close(pieces.transpose(1, 2), whole)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=3)), min_size=1, max_size=3),
    st.none() | st.integers(1, 6),
)
def test_pieces_cover_exactly_what_the_mask_shows(lengths: list[tuple[int, list[int]]], window: int | None) -> None:
    layout = Layout.of(lengths)
    mask = layout.mask(window)
    places = [place for piece in layout.pieces for place in range(piece.start, piece.end)]
    assert places == list(range(len(mask)))
    for piece in layout.pieces:
        before = range(0) if piece.prompt is None else range(piece.prompt.start, piece.prompt.end)
        keys = {*before[piece.unseen(window) :], *range(piece.start, piece.end)}
        shown = mask[piece.start : piece.end].any(0).nonzero().flatten().tolist()
        assert set(shown) == keys


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 20))
def test_rows_keep_to_their_limit_and_lose_nothing(lengths: list[int], limit: int) -> None:
    records = [TokenizedInstruction(str(i), [1], [[5] * n], [0]) for i, n in enumerate(lengths)]
    batch = collate(records, packed=True, row_tokens=limit)
    for row in batch.rows:
        assert row.ids.shape[1] <= limit or len(row.response.unique()) == 1
    counts = torch.bincount(batch.response)
    assert counts.tolist() == lengths == batch.wanted.tokens.tolist()


def test_both_layouts_have_the_same_targets() -> None:
    packed, padded = (collate(instructions(), packed=flag) for flag in (True, False))
    assert vars(packed.wanted).keys() == vars(padded.wanted).keys()
    for name, value in vars(packed.wanted).items():
        assert torch.equal(value, getattr(padded.wanted, name)), name
    assert packed.rows[0].targets.tolist() == padded.rows[0].targets.tolist()
    assert packed.wanted.rank.tolist() == [0, 1, 2, 3, 0, 1, 1, 1, 0, UNRANKED, UNRANKED]
    assert packed.wanted.original.nonzero().flatten().tolist() == [1, 3, 9, 10]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (TokenizedInstruction("r7", [], [[2]], [0]), "record r7: has an empty prompt"),
        (TokenizedInstruction("r7", [1]), "record r7: has no response"),
        (TokenizedInstruction("r7", [1], [[2], []], [0, 1]), "record r7: response 1 has no token left"),
        (TokenizedInstruction("r7", [1], [[2]], [0, 1]), "record r7: has 1 candidates and the ranks"),
        (TokenizedInstruction("r7", [1], [[2]], [-1]), "record r7: has 1 candidates and the ranks"),
        (TokenizedInstruction("r7", [1], [[2]], [0], 1), "record r7: the original response is candidate 1 of 1"),
    ],
)
def test_a_broken_record_is_named(record: TokenizedInstruction, problem: str) -> None:
    with pytest.raises(DataError) as error:
        collate([record], packed=True)
    assert problem in str(error.value)


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_moves_as_a_whole(packed: bool) -> None:
    batch = collate(instructions(), packed=packed, row_tokens=60).to("meta")
    values = [*vars(batch.wanted).values()]
    for row in batch.rows:
        values += [*vars(row).values(), *(vars(row.layout).values() if row.layout else [])]
    devices = {value.device.type for value in values if isinstance(value, torch.Tensor)}
    assert devices == {"meta"}


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        collate([], packed=False)
