"""The classes of pixels found image by image, against those of all logits at full resolution at once."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix as sklearn_matrix

from conftest import tiny_segmenter
from sats.evaluation.argmax import best_classes
from sats.evaluation.confusion import confusion_matrix
from sats.evaluation.predict import Predictor
from sats.methods import METHODS
from sats.types import IGNORE, Batch, SegOutput


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(64, 64), (50, 41), (16, 16), (256, 256)])
@pytest.mark.parametrize("channels", [1, 2, 21, 151])
def test_classes_are_those_of_all_logits_at_once(
    size: tuple[int, int], channels: int, layout: torch.memory_format
) -> None:
    """Bit for bit, and of equal scores the first."""
    torch.manual_seed(channels)
    logits = torch.randn(3, channels + 1, 16, 16)
    logits[1] = logits[1].round()  # many are equal
    logits[2] = 0  # all are
    output = SegOutput(logits.to(memory_format=layout), (), (), (64, 64))
    found = best_classes(output, size, channels)
    assert torch.equal(found.long(), output.logits_at(size)[:, :channels].max(dim=1).indices)
    assert not found[2].any()


@pytest.mark.parametrize("name", ["dft", "sats"])
def test_a_large_image_is_read_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = METHODS[name]()
    torch.manual_seed(0)
    output = SegOutput(torch.randn(2, 24, 30, 40), (), (), (120, 160))
    whole = best_classes(output, (601, 803), 21, method.scores)
    monkeypatch.setattr("sats.evaluation.argmax.LARGE", 1000)
    heights = []

    def watched(scores: torch.Tensor, num_classes: int) -> torch.Tensor:
        heights.append(scores.shape[2])
        return method.scores(scores, num_classes)

    pieces = best_classes(output, (601, 803), 21, watched)
    assert sum(heights) == 2 * 601
    assert max(heights) < 100
    assert pieces.shape == whole.shape == (2, 601, 803)
    assert (pieces != whole).sum() <= 2  # sums are rounded in another order


@pytest.mark.parametrize("name", ["dft", "ssul", "sats"])
def test_a_methods_scores_are_honoured(name: str) -> None:
    """The last three channels are reserved rows: where they win, it is background for two of these methods."""
    method = METHODS[name]()
    torch.manual_seed(0)
    output = SegOutput(torch.randn(2, 24, 16, 16), (), (), (64, 64))
    found = best_classes(output, (64, 64), 21, method.scores)
    assert torch.equal(found.long(), method.scores(output.logits_at((64, 64)), 21).argmax(dim=1))
    assert torch.equal(found, best_classes(output, (64, 64), 21)) == (name == "sats")


@pytest.mark.parametrize("num_classes", [2, 30, 255])
def test_the_matrix_is_that_of_scikit_learn(num_classes: int) -> None:
    torch.manual_seed(0)
    model = tiny_segmenter((num_classes,)).eval()
    batch = Batch(torch.randn(2, 3, 32, 32), torch.randint(0, num_classes, (2, 32, 32)))
    batch.labels[0, :9] = IGNORE
    with torch.no_grad():
        answers = model(batch.images).logits_at((32, 32)).argmax(1)
    kept = batch.labels != IGNORE
    expected = sklearn_matrix(batch.labels[kept], answers[kept], labels=range(num_classes))
    assert confusion_matrix(model, [batch]).tolist() == expected.tolist()


def test_a_prediction_has_the_labels_of_the_scores_where_probabilities_round_to_the_same() -> None:
    """Sigmoids are 1.0 in float32 from logits of 17 on."""
    model = tiny_segmenter((3,))
    with torch.no_grad():
        model.classifier.weights[0].zero_()
        model.classifier.biases[0].copy_(torch.tensor([0.0, 18.0, 22.0]))
    predictor = Predictor(model.eval(), method=METHODS["lwf-mc"]())
    picture = Image.new("RGB", (40, 30))
    seen = predictor.predict(picture)
    assert seen.probabilities[1].max() == seen.probabilities[2].max()
    assert (seen.labels == 2).all()
    assert (seen.labels == predictor.labels(picture)).all()
