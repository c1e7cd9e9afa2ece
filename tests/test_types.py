import pytest
import torch

from sats.types import AttentionTap, SegOutput, Step, steps_of


def test_step_0_has_no_old_classes() -> None:
    step = Step(0, 0, 16)
    assert (step.num_seen, step.first_new) == (16, 1)
    assert step.new == slice(1, 16)


def test_later_steps_count_the_background_as_old() -> None:
    step = Step(1, 16, 5)
    assert (step.num_seen, step.first_new) == (21, 16)
    assert step.new == slice(16, 21)


def test_steps_follow_from_their_sizes() -> None:
    assert steps_of([15, 1, 4]) == (Step(0, 0, 16, 5), Step(1, 16, 1, 4), Step(2, 17, 4))


@pytest.mark.parametrize("arguments", [(-1, 1, 1), (1, 0, 1), (0, 3, 1), (0, 0, 0), (1, 3, -1)])
def test_impossible_steps_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"step|Step"):
        Step(*arguments)


def test_rows_of_a_tap_are_its_softmaxed_scores() -> None:
    query, key, mask = torch.randn(2, 3, 12, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 1, 12, 5)
    tap = AttentionTap(query, key, 0.5, mask, (3, 4))
    expected = (query @ key.transpose(-2, -1) * 0.5 + mask).softmax(-1)
    torch.testing.assert_close(tap.rows(), expected)
    torch.testing.assert_close(tap.rows(4, 9), expected[:, :, 4:9])


def test_masks_may_be_boolean_and_shared_by_all_queries() -> None:
    query, key = torch.randn(2, 3, 12, 4), torch.randn(2, 3, 5, 4)
    visible = torch.tensor([True, True, False, True, False]).view(1, 1, 1, 5)
    rows = AttentionTap(query, key, 0.5, visible, (3, 4)).rows(4, 9)
    assert rows.shape == (2, 3, 5, 5)
    assert not rows[..., [2, 4]].any()
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 3, 5))


def test_pixel_logits_have_the_images_size_and_are_computed_once() -> None:
    output = SegOutput(torch.randn(1, 3, 4, 6), (), (), (16, 24))
    assert output.pixel_logits.shape == (1, 3, 16, 24)
    assert output.pixel_logits is output.pixel_logits
