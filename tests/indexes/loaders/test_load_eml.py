from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage

import pytest

from indexes.errors import LoadError
from indexes.types import Document

Read = Callable[..., Document]


def message(body: str, charset: str = "utf-8") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Bank <service@bank.example>"
    mail["To"] = "Li Lei <li@customer.example>"
    mail["Date"] = "Fri, 01 Aug 2025 09:00:00 +0800"
    mail["Subject"] = "Re: 系统维护通知"
    mail.set_content(body, charset=charset)
    return mail


def test_plain_mail(read: Read) -> None:
    mail = message("尊敬的客户：\n\n系统将于8月17日维护。\n\n> 原来的问题？\n", charset="gb2312")
    mail.add_attachment(b"x", maintype="application", subtype="pdf", filename="notice.pdf")
    doc = read(mail.as_bytes(), "mail.eml")
    assert doc.title == "系统维护通知"
    assert doc.text.split("\n\n") == [
        "系统维护通知",
        "From: Bank <service@bank.example>\nTo: Li Lei <li@customer.example>\n"
        "Date: Fri, 01 Aug 2025 09:00:00 +0800",
        "尊敬的客户：",
        "系统将于8月17日维护。",
        "原来的问题？",
    ]
    assert doc.metadata["warnings"] == "attachment notice.pdf is not read"


def test_html_mail_is_preferred(read: Read) -> None:
    mail = message("Fee 20")
    mail.add_alternative("<table><tr><td>Fee</td><td>20</td></tr></table>", subtype="html")
    assert read(mail.as_bytes(), "a.eml").text.endswith("Fee: 20")


def test_wrong_charset_and_header_bytes(read: Read) -> None:
    raw = b"From: a@b.example\nSubject: fees\nContent-Type: text/plain; charset=klingon\n\n"
    assert read(raw + "手续费二十元。".encode("gb18030"), "a.eml").text.endswith("手续费二十元。")
    assert "fees" in read(b"Date: not a date\nFrom: <<>>,\n" + raw + b"body", "a.eml").text


def test_text_that_is_no_mail(read: Read) -> None:
    with pytest.raises(LoadError, match="not an e-mail"):
        read("just some text\nwithout headers", "a.eml")
