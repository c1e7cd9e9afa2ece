"""Scores against figures worked out by hand, and the confusion matrix against a loop."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

from conftest import tiny_segmenter
from sats.evaluation.confusion import confusion_matrix
from sats.evaluation.scores import (
    Scores,
    backward_transfer,
    class_iou,
    compute_scores,
    harmonic_mean,
    mean,
    ratio_to_joint,
    read_scores,
)
from sats.evaluation.table import class_table, figure_table, unlike_note, unmeasured_note
from sats.types import IGNORE, Batch

CONFUSION = np.array([[6, 2, 0], [1, 3, 0], [2, 0, 2]])  # IoU 6/11, 3/6, 2/4


def scores(step: int, iou: dict[str, float | None], num_first: int = 2) -> Scores:
    """Scores with these IoUs, whatever confusion they come from."""
    values = list(iou.values())
    figures = {
        "all": mean(values),
        "old": mean(values[:num_first]),
        "old_without_background": mean(values[1:num_first]),
        "new": mean(values[num_first:]),
        "avg": mean(values),
        "hiou": None,
    }
    return Scores(step, tuple(iou), iou, dict.fromkeys(iou, 1), figures, {})


def test_figures_by_hand() -> None:
    before = scores(0, {"background": 0.9, "a": 0.7})
    result = compute_scores(CONFUSION, ["background", "a", "b"], 1, 2, [before])
    assert result.iou == {"background": pytest.approx(6 / 11), "a": 0.5, "b": 0.5}
    assert result.pixels == {"background": 8, "a": 4, "b": 4}
    assert result.miou["all"] == pytest.approx((6 / 11 + 1) / 3)
    assert result.miou["old"] == pytest.approx((6 / 11 + 0.5) / 2)
    assert result.miou["old_without_background"] == 0.5
    assert result.miou["new"] == 0.5
    assert result.miou["avg"] == pytest.approx(((6 / 11 + 1) / 3 + 0.8) / 2)
    old = (6 / 11 + 0.5) / 2
    assert result.miou["hiou"] == pytest.approx(2 * old * 0.5 / (old + 0.5))
    assert result.forgetting == {"background": pytest.approx(0.9 - 6 / 11), "a": pytest.approx(0.2)}


def test_step_0_has_no_new_classes_and_nothing_forgotten() -> None:
    result = compute_scores(CONFUSION, ["background", "a", "b"], 0, 3)
    assert result.miou["new"] is None
    assert result.miou["hiou"] is None
    assert result.miou["avg"] == result.miou["all"] == result.miou["old"]
    assert result.forgetting == {}


def test_joint_training_has_old_and_new_classes_in_one_step() -> None:
    result = compute_scores(CONFUSION, ["background", "a", "b"], 0, 2)
    assert result.miou["new"] == 0.5
    assert result.miou["hiou"] is not None


def test_a_class_without_test_pixels_is_left_out() -> None:
    confusion = CONFUSION.copy()
    confusion[2] = 0
    result = compute_scores(confusion, ["background", "a", "b"], 1, 2, [scores(0, {"background": 1.0, "a": None})])
    assert result.iou["b"] is None
    assert result.unmeasured == ("b",)
    assert result.miou["new"] is None
    assert result.miou["all"] == mean([result.iou["background"], result.iou["a"]])
    assert result.forgetting["a"] == 0  # never measured before
    assert "b" in unmeasured_note(result)


def test_forgetting_is_measured_from_the_best_so_far() -> None:
    history = [scores(0, {"background": 0.5, "a": 0.4}), scores(1, {"background": 0.5, "a": 0.9, "b": 0.3})]
    result = compute_scores(CONFUSION, ["background", "a", "b"], 2, 2, history)
    assert result.forgetting["a"] == pytest.approx(0.4)
    assert result.forgetting["background"] == 0  # better than ever
    assert result.forgetting["b"] == 0


def test_backward_transfer_by_hand() -> None:
    history = [
        scores(0, {"background": 0.9, "a": 0.8}),
        scores(1, {"background": 0.9, "a": 0.7, "b": 0.6}),
        scores(2, {"background": 0.9, "a": 0.5, "b": 0.7, "c": 0.4}),
    ]
    assert backward_transfer(history[:1]) is None
    assert backward_transfer(history[:2]) == pytest.approx(-0.1)
    assert backward_transfer(history) == pytest.approx((-0.3 + 0.1) / 2)


def test_ratio_to_joint() -> None:
    run, joint = scores(1, {"background": 0.5, "a": 0.3}), scores(0, {"background": 0.8, "a": 0.8})
    assert ratio_to_joint(run, joint) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="other classes"):
        ratio_to_joint(run, scores(0, {"background": 0.8}))


def test_means() -> None:
    assert mean([]) is None
    assert mean([None, 0.5]) == 0.5
    assert harmonic_mean(0.0, 0.0) == 0
    assert harmonic_mean(None, 0.5) is None


@given(arrays(np.int64, (4, 4), elements=st.integers(0, 50)))
def test_iou_is_between_0_and_1_and_undefined_without_truth(confusion: np.ndarray) -> None:
    for index, value in enumerate(class_iou(confusion, "abcd").values()):
        assert (value is None) == (confusion[index].sum() == 0)
        assert value is None or 0 <= value <= 1


def test_scores_survive_their_file(tmp_path: Path) -> None:
    result = compute_scores(CONFUSION, ["background", "a", "<b>é"], 0, 3)
    (tmp_path / "scores.json").write_text(result.to_json())
    assert read_scores(tmp_path / "scores.json") == result
    assert set(json.loads(result.to_json())) == {"step", "classes", "iou", "pixels", "miou", "forgetting"}


def test_tables_show_every_class_and_survive_markup_in_names() -> None:
    before = scores(0, {"background": 0.9, "[red]a": 0.7})
    now = replace(scores(1, {"background": 0.9, "[red]a": 0.5, "b": None}), forgetting={"[red]a": 0.2})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(class_table([before, now]), figure_table([before, now]))
    text = console.export_text()
    assert "[red]a" in text
    assert "20.0" in text
    assert "-20.0" in text  # backward transfer


def test_confusion_counts_every_pixel_by_a_loop() -> None:
    model = tiny_segmenter((3,)).eval()
    torch.manual_seed(0)
    batches = [
        Batch(torch.randn(2, 3, 32, 48), torch.randint(0, 3, (2, 32, 48))),
        Batch(torch.randn(1, 3, 32, 32), torch.randint(0, 3, (1, 50, 40))),  # labels of a size of their own
    ]
    batches[0].labels[0, :5] = IGNORE
    expected = torch.zeros(3, 3, dtype=torch.long)
    for batch in batches:
        with torch.no_grad():
            answers = model(batch.images).logits_at(tuple(batch.labels.shape[-2:])).argmax(1)
        for truth, answer in zip(batch.labels.flatten().tolist(), answers.flatten().tolist(), strict=True):
            if truth != IGNORE:
                expected[truth, answer] += 1
    assert torch.equal(confusion_matrix(model, batches), expected)


def test_a_methods_own_scores_decide_the_prediction() -> None:
    model = tiny_segmenter((3,))
    batch = Batch(torch.randn(1, 3, 32, 32), torch.ones(1, 32, 32, dtype=torch.long))
    flipped = confusion_matrix(model, [batch], lambda logits, num_classes: logits[:, :num_classes].flip(1))
    plain = confusion_matrix(model, [batch])
    assert flipped[1].tolist() == plain[1].tolist()[::-1]


def test_steps_measured_without_the_background_do_not_compare_with_those_with_it() -> None:
    """A folder that labels its own classes alone takes the background out of the test set: less can be wrong."""
    classes = ("background", "cat", "cow")
    with_it = np.array([[50, 50, 0], [5, 5, 0], [0, 0, 0]])
    first = compute_scores(with_it[:2, :2], classes[:2], 0, 2)
    second = compute_scores(with_it, classes, 1, 2, [first])
    without = np.array([[0, 0, 0], [5, 5, 0], [0, 2, 8]])
    third = compute_scores(without, classes, 2, 2, [first, second])
    assert set(second.forgetting) == {"background", "cat"}
    assert third.forgetting == {}
    assert backward_transfer([first, second]) == 0
    assert backward_transfer([first, second, third]) is None
    fourth = compute_scores(np.array([[0, 0, 0], [9, 1, 0], [0, 2, 8]]), classes, 3, 2, [first, second, third])
    assert fourth.forgetting == {"cat": pytest.approx(5 / 12 - 1 / 12), "cow": 0}
    assert "do not compare" in unlike_note([first, second, third])
    assert unlike_note([first, second]) == ""
