"""Saved e-mail: who wrote when about what, then the text."""

from __future__ import annotations

import re
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from indexes.errors import LoadError
from indexes.loaders.encoding import decode
from indexes.loaders.limits import LoadLimits
from indexes.loaders.markup import write_html
from indexes.loaders.plain import write_text
from indexes.loaders.text import TextBuilder, clean_line

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_QUOTE = re.compile(r"^(?:[ \t]*>)+[ \t]?", re.M)
_PREFIX = re.compile(r"^(?:(?:re|fwd?|aw|回复|答复|转发)\s*[:：]\s*)+", re.I)


def load_eml(data: bytes, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write headers and text to ``builder``; return the subject. Attachments are only named."""
    try:
        message = BytesParser(policy=policy.default).parsebytes(data)
        headers = {name: clean_line(str(message[name] or "")) for name in _HEADERS}
        body = message.get_body(preferencelist=("html", "plain"))
        attachments = [
            part.get_filename() or part.get_content_type() for part in _attached(message)
        ]
    # The header parser stumbles over some broken addresses and dates.
    except (ValueError, IndexError, AttributeError, TypeError, LookupError) as error:
        raise LoadError(f"the e-mail is damaged ({error}); save it again") from error
    if not any(headers.values()):
        raise LoadError("not an e-mail: it has no From, To, Date or Subject")
    subject = _PREFIX.sub("", headers["Subject"])
    if subject:
        builder.heading(1, subject)
    for name in _HEADERS[:-1]:
        if headers[name]:
            builder.line(f"{name}: {headers[name]}")
    builder.end_run()
    if isinstance(body, EmailMessage):
        _write_body(body, builder, limits)
    builder.warnings.extend(f"attachment {name} is not read" for name in attachments)
    return subject


def _attached(message: EmailMessage) -> list[EmailMessage]:
    return [part for part in message.iter_attachments() if isinstance(part, EmailMessage)]


def _write_body(body: EmailMessage, builder: TextBuilder, limits: LoadLimits) -> None:
    payload = body.get_payload(decode=True)
    charset = body.get_content_charset()
    text = decode(payload, charset) if isinstance(payload, bytes) and payload else ""
    if body.get_content_subtype() == "html":
        write_html(text, builder, limits)
    else:
        write_text(_QUOTE.sub("", text), builder)
