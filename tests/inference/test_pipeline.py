"""One image to its answer: what it carries, what it leaves out."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import cv2
import numpy as np
import pydicom
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image as PillowImage

from irmsia import __version__
from irmsia.bundles.load import Bundle
from irmsia.findings.types import Decision, Diagnosis, Reason
from irmsia.imaging.phantoms import make_phantom
from irmsia.inference.engine import Engine
from irmsia.inference.protocol import DiagnoseRequest
from tests.bundles.tiny import CELL, CHANNELS, SIZE, SPEC, TERMS, make_network
from tests.inference.conftest import seal
from tests.inference.reading import InProcessDecoder, make_png

Engines = Callable[..., Engine]


def ask(engine: Engine, source: bytes, **options: object) -> Diagnosis:
    """Wait for one answer."""
    return engine.submit(DiagnoseRequest("name.png", source, **options)).result(30)


def test_an_answer_carries_its_evidence(engines: Engines, bundle: Bundle) -> None:
    """Digests of file and frame, decoder, bundle, software, model, limitation, times that add up."""
    png = make_png(1)
    answer = ask(engines(bundle), png)
    assert answer.error is None
    assert answer.input == "name.png"
    info = InProcessDecoder().prepare(png, SPEC).info
    assert answer.evidence is not None and answer.model is not None and answer.timings_ms is not None
    assert answer.evidence.input_sha256 == info.input_sha256
    assert answer.evidence.frame_sha256 == info.frame_sha256
    assert answer.evidence.decoder == info.decoder
    assert answer.evidence.software is not None
    assert re.fullmatch(rf"irmsia {__version__}, openvino [0-9.]+ at f32", answer.evidence.software)
    assert answer.evidence.bundle == answer.model.id == bundle.id
    assert [(row.code, row.text) for row in answer.warnings] == [("LIMITATION", bundle.manifest.limitations[0])]
    times = answer.timings_ms
    parts = (times.queue, times.decode, times.preprocess, times.infer, times.explain)
    assert all(part >= 0 for part in parts)
    assert times.infer > 0
    assert sum(parts) <= times.total
    assert answer.explanation is None


def test_a_dicom_source_is_told_and_nothing_else_s_is(engines: Engines, bundle: Bundle) -> None:
    """UIDs, spacing and acquisition of a DICOM file; nulls but size and format for a PNG."""
    phantom = make_phantom(101, "CT", "bright")
    engine = engines(bundle)
    source, header = ask(engine, phantom.data).source, pydicom.dcmread(io.BytesIO(phantom.data))
    assert source is not None
    assert (source.format, source.modality) == ("DICOM", "CT")
    assert source.sop_instance_uid == header.SOPInstanceUID
    assert source.study_instance_uid == header.StudyInstanceUID
    assert (source.rows, source.columns) == (header.Rows, header.Columns)
    assert (source.spacing_mm.row_mm, source.spacing_mm.column_mm) == tuple(map(float, header.PixelSpacing))
    png = ask(engine, make_png(1, rows=48, columns=40)).source
    assert png is not None
    assert (png.format, png.rows, png.columns, png.modality, png.sop_instance_uid) == ("PNG", 48, 40, None, None)


def test_a_refusal_runs_no_network_and_says_nothing_of_disease(engines: Engines, bundle: Bundle) -> None:
    """A blank picture: rule 2, no findings, no map although one was asked for, evidence nevertheless."""
    done, blank = cv2.imencode(".png", np.full((40, 40), 7, np.uint8))
    assert done
    answer = ask(engines(bundle), blank.tobytes(), heatmap=True, overlay=True)
    assert (answer.decision, answer.reason, answer.rule) == (Decision.REFUSE, Reason.BLANK, 2)
    assert answer.timings_ms is not None and answer.timings_ms.infer == 0
    assert (answer.findings, answer.explanation, answer.primary, answer.risk) == ((), None, None, None)
    assert answer.evidence is not None and answer.evidence.bundle == bundle.id
    assert "LIMITATION" in {row.code for row in answer.warnings}


def test_what_the_model_cannot_do_is_said(engines: Engines, bundle: Bundle) -> None:
    """Segmentation: a warning. A term of another region: a warning and no map. A term of no group: INVALID_REQUEST."""
    engine = engines(bundle)
    assert "NO_SEGMENTATION" in {row.code for row in ask(engine, make_png(1), segmentation=True).warnings}
    foreign = ask(engine, make_png(1), heatmap=True, term="phantom_lesion_dark")
    assert foreign.explanation is None and foreign.decision is not None
    assert "NO_EXPLANATION" in {row.code for row in foreign.warnings}
    unknown = ask(engine, make_png(1), heatmap=True, term="glioma")
    assert unknown.error is not None and unknown.error.code == "INVALID_REQUEST"
    assert "pneumonia" in unknown.error.message


def test_all_findings_adds_the_unassessed(engines: Engines, bundle: Bundle) -> None:
    """NOT_ASSESSED rows come on request alone."""
    engine = engines(bundle)
    few, many = (ask(engine, make_png(1), all_findings=told).findings for told in (False, True))
    assert {row.code for row in few} == {"pneumonia"}
    assert {row.state for row in many if row.code != "pneumonia"} == {"NOT_ASSESSED"}


@pytest.mark.parametrize("term", [None, "normal", "pneumonia"])
def test_contributions_add_up_to_the_logit_but_for_its_bias(engines: Engines, term: str | None) -> None:
    """The map is the network's own account of the term; without a term it is the leading one other than normal."""
    network = make_network()
    png = make_png(3)
    explanation = ask(engines(seal(network)), png, heatmap=True, term=term).explanation
    assert explanation is not None
    assert explanation.term == (term or "pneumonia")
    assert explanation.overlay_png is None
    cells = np.frombuffer(explanation.map, "<f4").reshape(explanation.shape)
    tensor = InProcessDecoder().prepare(png, SPEC).frames[0].tensor
    index = TERMS["chest"].index(explanation.term)
    logit = ReferenceEvaluator(network).run(["logits_chest"], {"image": tensor[None]})[0][0, index]
    bias = next(numpy_helper.to_array(tensor) for tensor in network.graph.initializer if tensor.name == "chest_bias")[
        index
    ]
    assert cells.sum() == pytest.approx(logit - bias, abs=1e-5)


def _brightness_network() -> object:
    """A network whose pneumonia map is the brightness of each cell."""
    cells = np.zeros((CHANNELS, 1, CELL, CELL))
    cells[0] = 1 / CELL**2
    head = np.zeros((2, CHANNELS, 1, 1))
    head[1, 0] = 1
    return make_network(cells_weight=cells, chest_weight=head, chest_bias=np.array([0.0, 5.0]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(64, 64), (96, 60), (50, 120)])
def test_the_map_points_into_the_stored_image(engines: Engines, shape: tuple[int, int], orientation: int) -> None:
    """A bright spot of the stored pixels is found where it is: crop, padding and EXIF orientation undone."""
    rows, columns = shape
    spot = (round(rows * 0.3), round(columns * 0.7))
    down, across = np.mgrid[:rows, :columns]
    radius = max(shape) / 10
    pixels = 20 + 230 * (np.hypot(down - spot[0], across - spot[1]) < radius)
    file = io.BytesIO()
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    PillowImage.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=95, exif=exif)
    answer = ask(engines(seal(_brightness_network())), file.getvalue(), heatmap=True, overlay=True)
    explanation = answer.explanation
    assert explanation is not None and explanation.overlay_png is not None
    cells = np.frombuffer(explanation.map, "<f4").reshape(explanation.shape)
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    grid = explanation.grid_to_image
    found = (grid.row0 + row * grid.row_step, grid.column0 + column * grid.column_step)
    assert np.hypot(found[0] - spot[0], found[1] - spot[1]) <= max(grid.row_step, grid.column_step)
    overlay = cv2.imdecode(np.frombuffer(explanation.overlay_png, np.uint8), cv2.IMREAD_COLOR)
    assert overlay.shape[:2] == (shape if orientation < 5 else shape[::-1])


def test_a_large_overlay_is_shrunk(engines: Engines, bundle: Bundle) -> None:
    """At most 2,048 pixels on the long side, aspect kept; the map itself stays the network's grid."""
    answer = ask(engines(bundle), make_png(1, rows=4096, columns=1024), heatmap=True, overlay=True)
    assert answer.explanation is not None and answer.explanation.overlay_png is not None
    overlay = cv2.imdecode(np.frombuffer(answer.explanation.overlay_png, np.uint8), cv2.IMREAD_COLOR)
    assert overlay.shape == (2048, 512, 3)
    assert answer.explanation.shape == (SIZE // CELL, SIZE // CELL)
