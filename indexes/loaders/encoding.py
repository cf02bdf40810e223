"""Decode the bytes of a text file whose encoding nobody stated."""

from __future__ import annotations

import codecs
import re

from indexes.errors import LoadError

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The most frequent characters of running Chinese in both scripts. A wrong decoding of short text
# yields rare characters, so a few of these decide even for one sentence.
_FREQUENT = frozenset(
    "的一是不了在人有我他这這个個们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着"
    "下自之年过過发發后後作里用道行所然家种種事成方多经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進"
    "好小部其些主样樣理心本前开開但因只从從想实實日军者意无無力它与與长長把机機十民第公此已工使情明性知全三"
    "又关關点點正业業外将將两兩高间間由问問很最重并並物手应應战向头頭文体體政美相见見被利什二等产產或新己制"
    "身果加西斯月话話合回特代内內信表化老给給世位次度门門任常先海通教儿兒原东東声聲提立及比员員解水名真论論"
    "处處走义義各入几幾口认認条條平系系气氣题題活尔爾更别別打女变變四神总總何电電数數安少报報才结結反受目"
    "太量再感建务務做接必场場件计計管期市直德资資命山金指克许許统統区區保至队隊形社便空决決治展马馬科司五"
    "基眼书書非则則听聽白却卻界达達光放强強即像难難且权權思王象完设設式色路记記南品住告类類求据據程北边邊死"
    "张張该該交规規万萬取拉格望觉覺术術领領共确確传傳师師观觀清今切院让讓识識候带帶导導争爭运運款银銀行卡费費"
    "率账賬户戶贷貸客服请請您需办辦申码碼证證存转轉支付限额額利息还還款号號查询詢单單元日何如期"
)
_HAN = re.compile(r"[\u3400-\u9fff]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_SAMPLE = 200_000


def decode(data: bytes, declared: str | None = None) -> str:
    """The text of ``data``: UTF-8, UTF-16, UTF-32, GB18030, Big5, Windows-1252 or what is found.

    ``declared`` (an HTML or mail header's charset) is tried right after a byte-order mark and
    UTF-8. Raises ``LoadError`` when the bytes are not text.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _strict(data, encoding) or data.decode(encoding, errors="replace")
    if (wide := _wide_encoding(data)) is not None:
        return data.decode(wide, errors="replace")
    _refuse_binary(data)
    text = _strict(data, "utf-8")
    if text is None and declared:
        text = _strict(data, _browser_name(declared))
    return text if text is not None else data.decode(_guess(data), errors="replace")


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _browser_name(charset: str) -> str:
    # Browsers read these names as their supersets; pages rely on it.
    name = charset.strip().strip("\"'").lower()
    known = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "latin-1": "cp1252"}
    known |= {"us-ascii": "cp1252", "ascii": "cp1252", "big5": "big5hkscs"}
    return known.get(name, name)


def _wide_encoding(data: bytes) -> str | None:
    """UTF-16 without a mark: one byte of each pair is mostly zero, or the pairs are mostly Han."""
    sample = data[: 4000 - len(data[:4000]) % 2]
    if len(sample) < 4:
        return None
    half = len(sample) / 2
    zeros_even, zeros_odd = sample[0::2].count(0), sample[1::2].count(0)
    if zeros_odd > 0.6 * half and zeros_even < 0.1 * half:
        return "utf-16-le"
    if zeros_even > 0.6 * half and zeros_odd < 0.1 * half:
        return "utf-16-be"
    return _wide_chinese(sample)


def _wide_chinese(sample: bytes) -> str | None:
    if _strict(sample, "utf-8") is not None:
        return None
    for encoding in ("utf-16-le", "utf-16-be"):
        text = sample.decode(encoding, errors="replace")
        frequent = sum(character in _FREQUENT for character in text)
        if frequent > 0.2 * len(text) and len(_HAN.findall(text)) > 0.4 * len(text):
            return encoding
    return None


def _refuse_binary(data: bytes) -> None:
    sample = data[:_SAMPLE]
    control = sum(sample.count(code) for code in (*range(9), *range(14, 27), *range(28, 32)))
    if control > max(8, 0.02 * len(sample)):
        raise LoadError(
            f"not a text file: {control / len(sample):.0%} of its bytes are control codes; "
            "give it the file name ending of its real format, or leave it out"
        )


def _guess(data: bytes) -> str:
    sample = data[:_SAMPLE]
    scores = {name: _chinese_score(sample, name) for name in ("gb18030", "big5hkscs")}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] >= 0.5:
        return best
    runs = [len(run) for run in _HIGH_RUN.findall(sample)]
    # In Chinese multi-byte text high bytes come in pairs; in Western text mostly alone.
    if runs and sum(length == 1 for length in runs) > 0.6 * len(runs):
        return "cp1252"
    return best if scores[best] >= 0.15 else _other(sample)


def _chinese_score(sample: bytes, encoding: str) -> float:
    """Share of frequent characters among the non-ASCII ones; 0 when much does not decode."""
    text = sample.decode(encoding, errors="replace")
    foreign = [character for character in text if character > "\x7f"]
    if not foreign or foreign.count("\ufffd") > 0.02 * len(foreign) + 1:
        return 0.0
    return sum(character in _FREQUENT for character in foreign) / len(foreign)


def _other(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    match = from_bytes(sample).best()
    return match.encoding if match is not None else "cp1252"
