"""SQL, the source of truth: all statements of the service are in this package."""

from __future__ import annotations

from assistant.storage.codec import Sentences
from assistant.storage.names import clean_text, valid_name, valid_scope
from assistant.storage.storage import Storage
from assistant.storage.values import (
    CollectionRef,
    ConversationInfo,
    Feedback,
    KnowledgeGap,
    StoredDocument,
    StoredTurn,
)

__all__ = [
    "CollectionRef",
    "ConversationInfo",
    "Feedback",
    "KnowledgeGap",
    "Sentences",
    "Storage",
    "StoredDocument",
    "StoredTurn",
    "clean_text",
    "valid_name",
    "valid_scope",
]
