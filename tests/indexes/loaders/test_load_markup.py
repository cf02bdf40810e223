from __future__ import annotations

from collections.abc import Callable

import pytest

from indexes.errors import LoadError
from indexes.types import Document

Read = Callable[..., Document]

MARKDOWN = """---
title: "Fees and limits"
versions:
  - one
---
# Fees {#fees .concept}

Call **95588** or see [our page](https://x.cn/a_b).
It is *free*, `always` &amp; everywhere.

**提示：**请妥善保管密码。

## Table {#t .section}

|Name|Price|Note|
|----|----:|---|
|Card|**100**|first
 year

 |
|Wire|20|a <br> b|

- one
- two
  1. inner
  2. inner two

```
pay <amount> --now
```

Use <InstanceId> here. <!-- hidden -->
![logo](a.png)
"""


def test_markdown_becomes_plain_text(read: Read) -> None:
    doc = read(MARKDOWN, "fees.md")
    assert doc.title == "Fees and limits"
    assert doc.text.split("\n\n") == [
        "Fees",
        "Call 95588 or see our page. It is free, always & everywhere.",
        "提示：请妥善保管密码。",
        "Table",
        "Name: Card; Price: 100; Note: first year\nName: Wire; Price: 20; Note: a b",
        "• one\n• two\n1. inner\n2. inner two",
        "pay <amount> --now",
        "Use <InstanceId> here.",
    ]
    assert [(h.level, h.title, doc.text[h.start :].startswith(h.title)) for h in doc.headings] == [
        (1, "Fees", True),
        (2, "Table", True),
    ]
    assert doc.media_type == "text/markdown" and doc.language == "en"


def test_markdown_as_vendors_export_it(read: Read) -> None:
    source = """1.  Step one

    |参数|说明|
    |--|--|
    |域名|注意：

    -   支持`*.a.cn`。

**说明：** 不含中文。

```
say('hi')
``` |
    |端口|默认|

        **第二部分**

|改写|^/a$|
|目标|/b 或

/c |

See [TMCH 库](cn.zh-CN/TMCH 库.md#) or [write]({{ site.email }}).
"""
    assert read(source, "a.md").text.split("\n\n") == [
        "1. Step one",
        "参数: 域名; 说明: 注意： 支持*.a.cn。 说明： 不含中文。 say('hi')\n参数: 端口; 说明: 默认",
        "第二部分",
        "改写: ^/a$\n目标: /b 或 /c",
        "See TMCH 库 or write.",
    ]


def test_markdown_title_is_the_first_heading_then_the_file_name(read: Read) -> None:
    assert read("# One\n\ntext", "a.md").title == "One"
    assert read("just text", "opening_hours.md").title == "opening hours"
    assert read("text\n\n" + "more text\n\n" * 100 + "# Late", "long.md").title == "long"


def test_code_keeps_what_looks_like_marks(read: Read) -> None:
    doc = read("```\n# not a heading {#x}\n| a | b\n```", "a.md")
    assert not doc.headings
    assert doc.text == "# not a heading {#x}\n| a | b"


HTML = """<!DOCTYPE html><html><head><title>Cards | Bank</title><style>p {}</style>
<script>var a = "<p>no</p>";</script></head>
<body><nav><a href="/">Home</a></nav><div class="breadcrumb">Home &gt; Cards</div>
<header><h1>Card&nbsp;fees</h1></header>
<p>First<br>Second &amp; third</p>
<div hidden>secret</div><p style="display: none">secret</p><div aria-hidden="true">secret</div>
<table><thead><tr><th rowspan="2">Card</th><th colspan="2">Fee</th></tr>
<tr><th>Year 1</th><th>Later</th></tr></thead>
<tbody><tr><td rowspan="2">Gold</td><td>0</td><td>$</td></tr><tr><td>1</td><td>2</td></tr></tbody>
</table>
<ol start="3"><li>three</li><li>four<ul><li>inner</li></ul></li></ol>
<pre>a  b
c</pre>
<p><b>Loose heading</b></p><p>Its text.</p>
<footer>All rights reserved</footer></body></html>"""


def test_html_becomes_plain_text(read: Read) -> None:
    doc = read(HTML, "cards.html")
    assert doc.title == "Card fees"
    assert doc.text.split("\n\n") == [
        "Card fees",
        "First",
        "Second & third",
        "Card: Gold; Fee Year 1: 0; Fee Later: $\nCard: Gold; Fee Year 1: 1; Fee Later: 2",
        "3. three\n4. four\n• inner",
        "a b\nc",
        "Loose heading",
        "Its text.",
    ]
    assert [(h.level, h.title) for h in doc.headings] == [(1, "Card fees"), (2, "Loose heading")]


def test_main_content_is_preferred(read: Read) -> None:
    doc = read("<body><div>menu</div><main><h1>A</h1><p>b</p></main><div>ads</div></body>", "a.htm")
    assert doc.text == "A\n\nb"


def test_line_breaks_in_chinese_leave_no_space(read: Read) -> None:
    doc = read("<p>本协议自双方\n  签字之日起\n生效，ATM\n除外。</p>", "a.html")
    assert doc.text == "本协议自双方签字之日起生效，ATM 除外。"


def test_bullets_laid_out_as_blocks(read: Read) -> None:
    doc = read("<div>•</div><div>excludes tax;</div><div>(a)</div><div>and fees.</div>", "a.html")
    assert doc.text == "• excludes tax;\n(a) and fees."


def test_layout_tables_keep_their_blocks(read: Read) -> None:
    doc = read(
        "<table><tr><td><h2>Title</h2><table><tr><td>Fee</td><td>20</td></tr></table></td></tr></table>",
        "a.html",
    )
    assert doc.text == "Title\n\nFee: 20"


def test_declared_charset_is_used(read: Read) -> None:
    page = '<html><head><meta charset="gb2312"></head><body><p>镕基</p></body></html>'
    assert read(page.encode("gb18030"), "a.html").text == "镕基"


def test_deep_nesting_is_refused_or_read(read: Read) -> None:
    depth = 50_000
    with pytest.raises(LoadError, match="nested"):
        read("<div>" * depth + "deep" + "</div>" * depth, "deep.html")


def test_outlined_parse_of_an_annual_report(read: Read) -> None:
    page = "<h>甲公司\n2019年年度报告</h><br/><h>第一节重要提示</h><p>董事会保证真\n实。</p>"
    page += "<table><tr><td>项目</td><td>2019年</td></tr>"
    page += "<tr><td>营业收入</td><td>10,0\n00</td></tr></table>"
    doc = read(page, "2019年度报告.html")
    assert [h.title for h in doc.headings] == ["第一节重要提示"]
    assert doc.title == "2019年度报告"
    assert "董事会保证真实。" in doc.text
    assert doc.text.endswith("项目: 营业收入; 2019年: 10,000")
