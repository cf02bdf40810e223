"""Build the tokeniser of XLM-RoBERTa from its unigram vocabulary, and trim that vocabulary."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from assistant.models.build.weights import Vocabulary

META = "▁"
# SentencePiece's nmt_nfkc leaves the fullwidth tilde alone where NFKC folds it to "~"; a
# noncharacter, which no valid text holds, carries it past NFKC.
_TILDE, _STAND_IN = "～", "\ufdd0"
# Control pieces get names no text can contain, so "</s>" typed by a user stays plain text.
_CONTROL = "\ufdd1"
_KEPT_SCRIPTS = ("LATIN", "CJK", "FULLWIDTH", "IDEOGRAPHIC", "DIGIT", "KANGXI")


def build_tokenizer(vocabulary: Vocabulary, *, characters: bool = False) -> Tokenizer:
    """Return the tokeniser ``<s> text </s>`` of ``vocabulary``.

    Normalisation is SentencePiece's nmt_nfkc, runs of spaces collapse to one, and words start with
    the meta space; offsets count code points of the original text. With ``characters`` each Han
    character is a token of its own, so that a name never ends inside one.
    """
    special = {vocabulary.bos, vocabulary.eos, vocabulary.pad, vocabulary.unk}
    pieces = [
        (f"{_CONTROL}{i}" if i in special or _is_control(piece) else piece, score)
        for i, (piece, score) in enumerate(zip(vocabulary.pieces, vocabulary.scores, strict=True))
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, vocabulary.unk, False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(_TILDE, _STAND_IN),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(_STAND_IN, _TILDE),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    words = pre_tokenizers.Metaspace(replacement=META, prepend_scheme="always")
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([words, pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated")])
        if characters
        else words
    )
    bos, eos = pieces[vocabulary.bos][0], pieces[vocabulary.eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[bos, "$A", eos],
        special_tokens=[(bos, vocabulary.bos), (eos, vocabulary.eos)],
    )
    return tokenizer


def _is_control(piece: str) -> bool:
    return piece in ("<s>", "</s>", "<pad>", "<unk>", "<mask>")


def kept_pieces(vocabulary: Vocabulary) -> list[int]:
    """Return, ascending, the pieces that Chinese and English text can need.

    A piece all of whose characters are Latin, Han, or script-neutral (digits, punctuation, symbols)
    stays, so the best segmentation of text in those characters is unchanged: no dropped piece could
    have matched it. Single characters of every script stay too, so that a Russian name in a Chinese
    document is spelled out instead of becoming unknown. The piece of the lowest score stays
    because the penalty of the unknown token is reckoned from it.
    """
    scores = vocabulary.scores
    special = {vocabulary.bos, vocabulary.eos, vocabulary.pad, vocabulary.unk}
    lowest = min((i for i in range(len(scores)) if i not in special), key=lambda i: (scores[i], i))
    return [
        i
        for i, piece in enumerate(vocabulary.pieces)
        if i in special or i == lowest or (not _is_control(piece) and _is_needed(piece))
    ]


def trim(vocabulary: Vocabulary, kept: Iterable[int]) -> Vocabulary:
    """Return the vocabulary of the pieces ``kept``, renumbered in their order."""
    order = list(kept)
    place = {old: new for new, old in enumerate(order)}
    return Vocabulary(
        pieces=tuple(vocabulary.pieces[i] for i in order),
        scores=tuple(vocabulary.scores[i] for i in order),
        bos=place[vocabulary.bos],
        eos=place[vocabulary.eos],
        pad=place[vocabulary.pad],
        unk=place[vocabulary.unk],
    )


def _is_needed(piece: str) -> bool:
    letters = piece.replace(META, "")
    return len(letters) <= 1 or all(map(_is_kept_character, letters))


@lru_cache(maxsize=65536)
def _is_kept_character(character: str) -> bool:
    if character.isascii():
        return True
    if unicodedata.category(character)[0] in "PSNZM":
        # Combining marks, numbers and signs used by every script.
        return not _names_foreign_script(character)
    return unicodedata.name(character, "").startswith(_KEPT_SCRIPTS)


def _names_foreign_script(character: str) -> bool:
    """Whether a mark or number belongs to one script that is neither Latin nor Han."""
    if unicodedata.category(character)[0] not in "MN":
        return False
    name = unicodedata.name(character, "")
    neutral = ("COMBINING", "SUPERSCRIPT", "SUBSCRIPT", "VULGAR", "ROMAN", "CIRCLED", "VARIATION")
    return not name.startswith((*_KEPT_SCRIPTS, *neutral))
