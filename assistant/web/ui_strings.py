"""Every text of the page in both languages, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from assistant.types import AnswerKind
from indexes.types import Language

LANGUAGE_COOKIE = "assistant_language"


@dataclass(frozen=True, slots=True)
class Strings:
    """The page's texts in one language; ``{names}`` are filled with ``str.format``."""

    language: Language
    html_language: str
    title: str
    nav_label: str
    nav_chat: str
    nav_documents: str
    language_switch: str
    language_switch_label: str
    theme_switch: str
    skip: str
    collection: str
    history: str
    history_empty: str
    history_toggle: str
    close: str
    new_conversation: str
    greeting: str
    greeting_more: str
    samples_label: str
    no_documents: str
    add_documents: str
    chat_label: str
    placeholder: str
    send: str
    stop: str
    thinking: str
    stopped: str
    said: str
    answered: str
    related: str
    conversation_gone: str
    evidence: str
    evidence_hint: str
    evidence_none: str
    evidence_for: str
    evidence_gone: str
    evidence_open: str
    back_to_chat: str
    page_number: str
    confidence: str
    confidence_hint: str
    copy: str
    copied: str
    good: str
    bad: str
    feedback_prompt: str
    feedback_placeholder: str
    feedback_send: str
    feedback_sent: str
    upload_title: str
    upload_hint: str
    upload_target: str
    upload_target_hint: str
    upload_faq: str
    upload_faq_hint: str
    upload_button: str
    upload_drop: str
    upload_none: str
    upload_working: str
    upload_done: str
    upload_failed_some: str
    upload_chunks: str
    upload_faq_entries: str
    documents_title: str
    documents_summary: str
    documents_empty: str
    documents_document: str
    documents_kind: str
    documents_size: str
    documents_added: str
    delete: str
    delete_confirm: str
    deleted: str
    kinds: Mapping[AnswerKind, str] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)


EN = Strings(
    language="en",
    html_language="en",
    title="Domain assistant",
    nav_label="Views",
    nav_chat="Chat",
    nav_documents="Documents",
    language_switch="中文",
    language_switch_label="切换到中文",
    theme_switch="Switch between light and dark",
    skip="Skip to the question",
    collection="Collection",
    history="Conversations",
    history_empty="Your conversations will be listed here.",
    history_toggle="Show conversations",
    close="Close",
    new_conversation="New conversation",
    greeting="How can I help?",
    greeting_more="I answer from your documents and FAQ, show the evidence for every sentence, "
    "and say so when I do not know.",
    samples_label="Questions to begin with",
    no_documents="This collection is empty. Add documents, then ask about them.",
    add_documents="Add documents",
    chat_label="Conversation",
    placeholder="Ask a question …",
    send="Send",
    stop="Stop",
    thinking="Looking for the answer",
    stopped="Stopped.",
    said="You asked",
    answered="Answer",
    related="Related",
    conversation_gone="This conversation no longer exists.",
    evidence="Evidence",
    evidence_hint="When an answer comes from your documents, each cited passage is shown here in "
    "its surroundings, with the words quoted marked.",
    evidence_none="This answer cites no documents.",
    evidence_for="For: {question}",
    evidence_gone="This document has been replaced or deleted since; only the quote is left.",
    evidence_open="Show evidence {number}",
    back_to_chat="Back to the conversation",
    page_number="page {number}",
    confidence="{percent}% sure",
    confidence_hint="Calibrated probability that this answer is right",
    copy="Copy the answer",
    copied="Copied",
    good="Good answer",
    bad="Bad answer",
    feedback_prompt="What should be better? (optional)",
    feedback_placeholder="A missing fact, a wrong document, an unclear sentence …",
    feedback_send="Send comment",
    feedback_sent="Thank you, your comment is saved.",
    upload_title="Add documents",
    upload_hint="md, txt, html, pdf, docx, pptx, xlsx, csv, jsonl, eml · up to {megabytes} MB each",
    upload_target="Add to collection",
    upload_target_hint="Choose one, or type a new name",
    upload_faq="These files are FAQ tables",
    upload_faq_hint="Two columns, question and answer: the answers are given word for word",
    upload_button="Add to the collection",
    upload_drop="Drop files here, or click to choose",
    upload_none="Choose one or more files first.",
    upload_working="{done} of {total} files",
    upload_done="{count} added to “{collection}”. You can ask about them now.",
    upload_failed_some="{failed} of {total} files could not be added.",
    upload_chunks="{count} passages",
    upload_faq_entries="{count} FAQ entries",
    documents_title="Documents in “{collection}”",
    documents_summary="{documents} documents · {chunks} passages · {faq} FAQ entries",
    documents_empty="No documents yet.",
    documents_document="Document",
    documents_kind="Type",
    documents_size="Content",
    documents_added="Added",
    delete="Delete",
    delete_confirm="Really delete?",
    deleted="“{title}” is deleted and will not be used in answers any more.",
    kinds={
        AnswerKind.SMALLTALK: "Conversation",
        AnswerKind.HANDOFF: "To a person",
        AnswerKind.FAQ: "FAQ · approved answer",
        AnswerKind.GROUNDED: "From documents",
        AnswerKind.CLARIFY: "Please choose",
        AnswerKind.ABSTAIN: "No answer found",
    },
    statuses={
        "added": "Added",
        "replaced": "Replaced",
        "unchanged": "Unchanged",
        "failed": "Failed",
    },
)

ZH = Strings(
    language="zh",
    html_language="zh-CN",
    title="领域助手",
    nav_label="视图",
    nav_chat="对话",
    nav_documents="文档",
    language_switch="English",
    language_switch_label="Switch to English",
    theme_switch="切换浅色与深色",
    skip="跳到提问框",
    collection="知识库",
    history="历史对话",
    history_empty="您的对话会列在这里。",
    history_toggle="显示历史对话",
    close="关闭",
    new_conversation="新对话",
    greeting="请问有什么可以帮您？",
    greeting_more="我根据您的文档和常见问题作答，每句话都给出依据；不知道的，我会直说。",
    samples_label="可以这样问",
    no_documents="这个知识库还是空的。请先添加文档，再来提问。",
    add_documents="添加文档",
    chat_label="对话内容",
    placeholder="请输入问题……",
    send="发送",
    stop="停止",
    thinking="正在查找答案",
    stopped="已停止。",
    said="您的提问",
    answered="回答",
    related="相关问题",
    conversation_gone="这段对话已不存在。",
    evidence="依据",
    evidence_hint="答案出自文档时，这里会显示每一处引用的原文及上下文，被引用的文字会高亮标出。",
    evidence_none="这条回答没有引用文档。",
    evidence_for="问题：{question}",
    evidence_gone="该文档之后已被替换或删除，仅保留引用的文字。",
    evidence_open="查看依据 {number}",
    back_to_chat="回到对话",
    page_number="第 {number} 页",
    confidence="把握 {percent}%",
    confidence_hint="这条回答正确的校准概率",
    copy="复制回答",
    copied="已复制",
    good="回答得好",
    bad="回答得不好",
    feedback_prompt="哪里需要改进？（选填）",
    feedback_placeholder="例如：遗漏了内容、文档不对、表述不清……",
    feedback_send="提交意见",
    feedback_sent="谢谢，您的意见已保存。",
    upload_title="添加文档",
    upload_hint="md、txt、html、pdf、docx、pptx、xlsx、csv、jsonl、eml · 每个不超过 {megabytes} MB",
    upload_target="添加到知识库",
    upload_target_hint="选择已有的，或输入新名称",
    upload_faq="这些文件是常见问题表",
    upload_faq_hint="包含问题与答案两列，答案将原文给出",
    upload_button="添加到知识库",
    upload_drop="将文件拖到这里，或点击选择",
    upload_none="请先选择文件。",
    upload_working="已处理 {done} / {total} 个文件",
    upload_done="已将 {count} 个文件添加到“{collection}”，现在就可以提问。",
    upload_failed_some="{total} 个文件中有 {failed} 个未能添加。",
    upload_chunks="{count} 个段落",
    upload_faq_entries="{count} 条问答",
    documents_title="“{collection}”中的文档",
    documents_summary="{documents} 份文档 · {chunks} 个段落 · {faq} 条问答",
    documents_empty="还没有文档。",
    documents_document="文档",
    documents_kind="类型",
    documents_size="内容",
    documents_added="添加时间",
    delete="删除",
    delete_confirm="确认删除？",
    deleted="“{title}”已删除，今后的回答不会再用到它。",
    kinds={
        AnswerKind.SMALLTALK: "闲聊",
        AnswerKind.HANDOFF: "转人工",
        AnswerKind.FAQ: "常见问题 · 标准答案",
        AnswerKind.GROUNDED: "依据文档",
        AnswerKind.CLARIFY: "请选择",
        AnswerKind.ABSTAIN: "未找到答案",
    },
    statuses={
        "added": "已添加",
        "replaced": "已更新",
        "unchanged": "无变化",
        "failed": "失败",
    },
)


def strings_for(language: str) -> Strings:
    """The texts of a language; anything but ``zh`` is English."""
    return ZH if language == "zh" else EN


def preferred_language(accept_language: str, cookie: str | None = None) -> Language:
    """Choose by the person's own choice (``cookie``), else by ``Accept-Language`` (RFC 9110).

    The listed language with the highest weight that we have wins; none of them: English.
    """
    if cookie in ("zh", "en"):
        return "zh" if cookie == "zh" else "en"
    ranked: list[tuple[float, int, Language]] = []
    for order, part in enumerate(accept_language.split(",")[:32]):
        tag, _, parameters = part.strip().lower().partition(";")
        primary = tag.split("-")[0].strip()
        if primary == "zh":
            ranked.append((-_weight(parameters), order, "zh"))
        elif primary == "en":
            ranked.append((-_weight(parameters), order, "en"))
    wanted = [item for item in ranked if item[0] < 0]
    return min(wanted)[2] if wanted else "en"


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
