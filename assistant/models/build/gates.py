"""Check a built encoder against the fp32 graph of the same weights before anyone may use it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from assistant.errors import ModelError
from assistant.models.session import Backend, Tokens
from indexes.types import FloatArray

MIN_MEAN_COSINE = 0.99
MIN_COSINE = 0.95

# Questions and the passage that answers each, in both languages and across them.
SAMPLE = (
    ("How do I block a lost bank card?", "If your card is lost, block it at once in the app."),
    ("银行卡丢了怎么办？", "银行卡丢失后，请立即在手机银行办理挂失，或拨打客服热线。"),
    ("What is the fee for an international transfer?", "Wires abroad cost 0.1%, at least USD 15."),
    ("跨境汇款手续费是多少？", "境外汇款按金额的千分之一收取手续费，最低十五美元。"),
    ("How long does a mortgage approval take?", "A decision on a home loan takes ten workdays."),
    ("房贷审批需要多久？", "住房贷款一般在收齐材料后十个工作日内给出审批结果。"),
    ("Can I open an account online?", "Accounts can be opened in the app with an identity card."),
    ("怎么修改登录密码？", "在“安全中心”选择“修改密码”，通过短信验证后即可设置新密码。"),
    ("Where can I see my statements?", "Monthly statements are listed under Documents as PDF."),
    ("信用卡逾期会影响征信吗？", "信用卡超过还款日三天仍未还款的，将按规定上报个人征信系统。"),
    (
        "How is personal data protected?",
        "Data are encrypted and kept only as long as the law asks.",
    ),
    ("定期存款可以提前支取吗？", "定期存款可以提前支取，提前支取部分按活期利率计息。"),
)


def sample_texts(query_prefix: str, passage_prefix: str) -> list[str]:
    """Return the sample as encoded: questions, their passages, one long passage a language."""
    questions = [query_prefix + question for question, _ in SAMPLE]
    passages = [passage_prefix + passage for _, passage in SAMPLE]
    english = " ".join(p for _, p in SAMPLE if p.isascii())
    chinese = "".join(p for _, p in SAMPLE if not p.isascii())
    return [*questions, *passages, passage_prefix + english * 3, passage_prefix + chinese * 3]


def sample_tokens(
    tokenizer: Tokenizer, query_prefix: str, passage_prefix: str, max_tokens: int
) -> list[Tokens]:
    """Return the sample ready to run, each text pooled to its mean."""
    tokens = []
    for encoding in tokenizer.encode_batch(sample_texts(query_prefix, passage_prefix)):
        ids = np.array(encoding.ids[:max_tokens], dtype=np.int32)
        tokens.append(Tokens(ids, np.full((1, len(ids)), 1 / len(ids), dtype=np.float32)))
    return tokens


def compare(built: Backend, reference: Backend, tokens: Sequence[Tokens]) -> dict[str, float]:
    """Return mean and least cosine between the two encoders, and both accuracies on the sample.

    ``tokens`` are the sample's, in its order. Raises ModelError when the built encoder strays.
    """
    ours, theirs = _unit(built, tokens), _unit(reference, tokens)
    cosines = (ours * theirs).sum(axis=1)
    figures = {
        "mean_cosine": round(float(cosines.mean()), 5),
        "least_cosine": round(float(cosines.min()), 5),
        "sample_accuracy": accuracy(ours),
        "sample_accuracy_fp32": accuracy(theirs),
    }
    if not (figures["mean_cosine"] >= MIN_MEAN_COSINE and figures["least_cosine"] >= MIN_COSINE):
        raise ModelError(
            f"The built encoder strays from fp32: mean cosine {figures['mean_cosine']}, least "
            f"{figures['least_cosine']}; at least {MIN_MEAN_COSINE} and {MIN_COSINE} are required."
        )
    return figures


def accuracy(vectors: FloatArray) -> float:
    """Return the share of the sample's questions whose own passage is the closest one."""
    count = len(SAMPLE)
    scores = vectors[:count] @ vectors[count : 2 * count].T
    return round(float((scores.argmax(axis=1) == np.arange(count)).mean()), 4)


def _unit(backend: Backend, tokens: Sequence[Tokens]) -> FloatArray:
    rows = np.stack([pooled[0] for pooled in backend.pooled(tokens)])
    unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
