"""Run by Alembic on the connection that ``assistant.storage.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from assistant.storage.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
