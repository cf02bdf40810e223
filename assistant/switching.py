"""Change over to another encoder: encode everything beside what is served, then change places.

Stored vectors belong to the encoder that made them. So every collection gets a copy of its own that
the new encoder has encoded; while it is being made, questions are answered from the old vectors.
Then all collections and their copies change places in one transaction. The old ones are kept as
copies in their turn: going back encodes only what changed meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from assistant.errors import BusyError, ModelError
from assistant.ingest import Ingestor
from assistant.knowledge import Knowledge
from assistant.models.encoder import vectors_fingerprint
from assistant.models.encoders import (
    EncoderPlace,
    encoder_place,
    mark_applied,
    pending_encoder,
)
from assistant.models.loading import load_encoder
from assistant.models.manifest import read_manifest
from assistant.settings import Settings
from assistant.storage import Storage
from assistant.storage.catalog import COPY_TENANT
from assistant.storage.values import CollectionRef
from assistant.types import IngestProgress, IngestReport, Scope

Progress = Callable[[IngestProgress], None]
_TRIES = 20
_log = logging.getLogger(__name__)


class EncoderSwitch:
    """One change from the encoder in force to the one promoted. For one thread.

    ``prepare`` does the work and may take hours; ``catch_up`` and ``complete`` are short. After
    them ``encoder``, ``knowledge`` and ``ingestor`` are the parts to serve with.
    """

    def __init__(self, storage: Storage, settings: Settings) -> None:
        """Open the promoted encoder. Raises ModelError when it cannot be, or there is none."""
        pending = pending_encoder(settings)
        if pending is None:
            raise ModelError("The encoder promoted is in force: there is nothing to change.")
        self.version = pending[1]
        self._settings = settings
        self._storage = storage
        self.encoder = load_encoder(settings, EncoderPlace(settings, self.version))
        self._former = COPY_TENANT + self._fingerprint_in_force()
        self._tenant = COPY_TENANT + self.encoder.fingerprint
        self.knowledge = Knowledge(
            storage,
            settings,
            self.encoder.space,
        )
        self.ingestor = Ingestor(storage, self.encoder, self.knowledge, settings)

    @property
    def name(self) -> str:
        """What is being changed to, in words."""
        return self.version.ref if self.version else f"the base build {self._settings.encoder}"

    def prepare(self, progress: Progress | None = None) -> list[IngestReport]:
        """Encode every collection into its copy; return what was encoded, by collection.

        Resumes where an interrupted one stopped. Raises ModelError when a document cannot be
        encoded: the copy would lack it.
        """
        if self._same:
            return []
        reports = []
        for live in self._storage.catalog.all_collections():
            report = self.ingestor.copy(live, self._copy_of(live), progress)
            if report.failed:
                first = report.failed[0]
                raise ModelError(
                    f"{len(report.failed)} documents of {live.name!r} cannot be encoded for "
                    f"{self.name}, the first: {first.source}: {first.reason}. Load them anew or "
                    "delete them; the encoder in force goes on serving."
                )
            if report.files:
                reports.append(report)
        return reports

    def complete(self) -> bool:
        """Have the copies take the collections' places, and the new encoder be in force.

        Returns False, having changed nothing, when documents changed since the last ``prepare``.
        """
        if self._same:
            mark_applied(self._settings, self.version)
            return True
        exchange = self._storage.writer.exchange
        pairs = [(live, self._copy_of(live)) for live in self._storage.catalog.all_collections()]
        if not exchange(pairs, self._former):
            return False
        try:
            mark_applied(self._settings, self.version)
        except BaseException:
            # Vectors and encoder must stay together: the disk refused, so all goes back.
            exchange([_exchanged(live, copy, self._former) for live, copy in pairs], self._tenant)
            raise
        for live, copy in pairs:
            self.knowledge.renamed(copy, live)
        return True

    def run(self, progress: Progress | None = None) -> list[IngestReport]:
        """Prepare and complete, where no service has to go on meanwhile."""
        reports = self.prepare(progress)
        for _ in range(_TRIES):
            if self.complete():
                self.drop_others()
                return reports
            reports += self.prepare(progress)
        raise BusyError("Documents keep changing while they are encoded anew; try again later.")

    def drop_others(self) -> None:
        """Delete the copies that belong neither to this encoder nor to the one before."""
        for one in self._storage.catalog.all_collections(copies=True):
            if one.tenant.startswith(COPY_TENANT) and one.tenant != self._former:
                self._storage.catalog.delete_collection(Scope(one.tenant, one.name))
                self.knowledge.forget(one)

    def abandon(self) -> None:
        """Close the parts; what was encoded is kept for the next try."""
        self.knowledge.close()
        self.encoder.close()

    @property
    def _same(self) -> bool:
        """Whether the vectors there are serve as they are: the same model under another number."""
        return self._former == self._tenant

    def _copy_of(self, live: CollectionRef) -> CollectionRef:
        return self._storage.catalog.ensure(Scope(self._tenant, live.uid))

    def _fingerprint_in_force(self) -> str:
        folder = None
        try:
            folder = encoder_place(self._settings).folder(self.encoder.manifest.precision)
            if folder is not None:
                return vectors_fingerprint(read_manifest(folder))
        except ModelError as error:
            # The encoder in force is damaged or gone: all the more reason to leave it.
            _log.warning("The encoder in force cannot be read: %s", error)
        return "unknown"


def _exchanged(
    live: CollectionRef, copy: CollectionRef, former: str
) -> tuple[CollectionRef, CollectionRef]:
    """Return the pair as it is called after the exchange, the copy in the first place."""
    now_live = replace(copy, tenant=live.tenant, name=live.name)
    return now_live, replace(live, tenant=former, name=copy.uid)
