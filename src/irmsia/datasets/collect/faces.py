"""The collectors under the names that users of the sources know, for programs and notebooks: thin, the same services.

from irmsia.datasets.collect.faces import TCIACollector
TCIACollector().download_collection("LIDC-IDRI", max_patients=10, modality="CT")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from irmsia.datasets.collect.engine import Outcome, download
from irmsia.datasets.collect.pace import Progress
from irmsia.datasets.collect.protocol import Collector, Filters, Plan
from irmsia.datasets.collect.registry import Context, make_collector
from irmsia.datasets.collect.series import plain_name
from irmsia.datasets.collect.web import Web
from irmsia.settings.tree import Settings

OnProgress = Callable[[Progress], None]


class Face:
    """What the faces share: a folder, the settings, and a connection for the time of one call.

    Args:
        output_dir: sets go into folders of their own below it; made where it is not there.
        settings: of the environment unless told.
        on_progress: called while files come.
    """

    source = ""

    def __init__(
        self,
        output_dir: str | Path | None = None,
        *,
        settings: Settings | None = None,
        on_progress: OnProgress = lambda progress: None,
    ) -> None:
        self.output_dir = Path(output_dir) if output_dir is not None else Path("datasets") / self.source
        self._settings = settings or Settings()
        self._on_progress = on_progress

    @contextmanager
    def opened(self, **options: str) -> Iterator[tuple[Collector, Web]]:
        """The source, and what it asks with."""
        settings = self._settings
        with Web(settings.collect) as web:
            context = Context(web, settings.collect, settings.home, options)
            yield make_collector(self.source, context), web

    def get(self, identity: str, filters: Filters) -> Path:
        """Download what ``filters`` leave of a set; its folder. What is there already is not asked for again.

        Raises:
            IrmsiaError: that of the first file that did not come; calling again goes on with those that are missing.
        """
        with self.opened() as (source, web):
            plan = source.plan(identity, filters)
            target = self.output_dir / plain_name(plan.offer.id)
            check_outcome(download(plan, target, web, on_progress=self._on_progress), plan)
        return target


def check_outcome(outcome: Outcome, plan: Plan) -> None:
    """Nothing where all files came.

    Raises:
        IrmsiaError: of the kind of the first failure, with the number of all.
    """
    if not outcome.failures:
        return
    first = outcome.failures[0].error
    raise type(first)(f"{len(outcome.failures)} of {len(plan.files)} files did not come: {first.message}")


class TCIACollector(Face):
    """The Cancer Imaging Archive; what NCI Imaging Data Commons holds of it comes from there."""

    source = "tcia"

    def list_available_collections(self) -> list[str]:
        """The names of all collections.

        Raises:
            SourceFailedError, TimedOutError, UnavailableError: TCIA does not answer, and IDC's catalogue is not here.
        """
        with self.opened() as (source, _):
            return [offer.id for offer in source.list()]

    def download_collection(
        self, collection_name: str, max_patients: int | None = None, modality: str | None = None
    ) -> Path:
        """Download a collection, or its first patients and one modality of it; its folder.

        Args:
            collection_name: ``LIDC-IDRI``, or the path of a ``.tcia`` manifest.
            max_patients: the first so many, by their ids.
            modality: as in DICOM: CT, MR.

        Raises:
            DatasetNotFoundError: there is no such collection.
            InvalidRequestError: nothing is left.
            IrmsiaError: that of the first file that did not come; calling again goes on with those that are missing.
        """
        return self.get(collection_name, Filters(max_patients=max_patients, modality=modality))
