"""What each method does by itself: terms by hand, what it freezes, what it reserves."""

from __future__ import annotations

import pytest
import torch

from sats import losses
from sats.methods import METHODS
from sats.methods.base import prepare_model
from sats.methods.plop import sure_share
from sats.types import BACKGROUND, IGNORE, Step
from steps import STEP_0, STEP_1, batch, outputs, step0, step1, terms_of


def test_mib_at_equal_weights_is_its_two_losses() -> None:
    method = METHODS["mib"]()
    where = step1(method)
    where.model.eval()
    student, teacher = outputs(method, where, batch(STEP_1))
    terms = terms_of(method, where)
    learned = losses.unbiased_cross_entropy(student.pixel_logits, batch(STEP_1).labels, 3).mean()
    torch.testing.assert_close(terms["cross_entropy"], learned)  # no old label among them: both conventions agree
    distilled = losses.unbiased_distillation(student.pixel_logits, teacher.pixel_logits)
    torch.testing.assert_close(terms["distillation"], 10 * distilled)


def test_mib_learns_labels_of_old_classes_where_there_are_some() -> None:
    """An exemplar's: the background's sum over old classes must not swallow them."""
    logits = torch.zeros(1, 5, 1, 2)
    logits[0, 2, 0, 1] = 3.0
    labels = torch.tensor([[[2, 2]]])
    kept = losses.unbiased_cross_entropy(logits, labels, 3, keep_old=True)
    torch.testing.assert_close(kept, losses.cross_entropy(logits, labels))
    assert (losses.unbiased_cross_entropy(logits, labels, 3) < kept).all()


def test_plop_scales_each_image_by_its_share_of_sure_background() -> None:
    labels = torch.tensor([[[0, 0, 0, 4]], [[4, 4, 255, 4]]])
    targets = torch.tensor([[[1, 255, 0, 4]], [[4, 4, 255, 4]]])
    torch.testing.assert_close(sure_share(labels, targets), torch.tensor([2 / 3, 0.0]), rtol=1e-5, atol=0)


def test_plops_terms_by_hand() -> None:
    method = METHODS["plop"]()
    where = step1(method)
    where.model.eval()
    data = batch(STEP_1)
    student, teacher = outputs(method, where, data)
    targets = method.targets(where, data, teacher)
    learned = losses.cross_entropy(student.pixel_logits, targets)
    terms = terms_of(method, where)
    shares = sure_share(data.labels, targets)
    scaled = torch.stack([share * pixels.mean() for share, pixels in zip(shares, learned, strict=True)])
    torch.testing.assert_close(terms["cross_entropy"], scaled.mean())
    schedule = (5 / 2) ** 0.5
    features = losses.local_pod(teacher.features, student.features, factor=0.01, schedule=schedule)
    logits = losses.local_pod([teacher.logits], [student.logits], schedule=schedule, logits_factor=0.0005)
    torch.testing.assert_close(terms["pod"], (4 * features + logits) / 5)


def test_ssul_calls_salient_background_unknown_unless_the_teacher_is_sure() -> None:
    method = METHODS["ssul"]()
    where = step1(method)
    data = batch(STEP_1)
    _, teacher = outputs(method, where, data)
    targets = method.targets(where, data, teacher)
    scores = teacher.pixel_logits.sigmoid()
    unknown = STEP_1.num_seen
    assert scores.shape[1] == 4  # background, two old classes, unknown
    for image, row, column in [(0, 5, 7), (0, 33, 20), (1, 40, 60), (1, 17, 3)]:
        label = int(data.labels[image, row, column])
        expected = label
        if label == BACKGROUND:
            expected = unknown if data.salient[image, row, column] else BACKGROUND
            best = scores[image, :, row, column]
            if best.argmax() in (1, 2) and best.max() >= 0.7:
                expected = int(best.argmax())
        assert int(targets[image, row, column]) == expected
    assert (targets[data.labels != BACKGROUND] == data.labels[data.labels != BACKGROUND]).all()
    assert (targets == unknown).any()


def test_ssuls_loss_is_the_mean_over_pixels_that_are_not_ignored() -> None:
    method = METHODS["ssul"]()
    where = step1(method)
    data = batch(STEP_1)
    student, teacher = outputs(method, where, data)
    targets = method.targets(where, data, teacher)
    pixels = losses.binary_cross_entropy(student.pixel_logits, targets)
    (term,) = method.losses(where, data, targets, student, teacher).values()
    torch.testing.assert_close(term, pixels[targets != IGNORE].mean())


def test_ssul_trains_new_rows_and_the_unknown_one_alone_and_starts_them_from_it() -> None:
    method = METHODS["ssul"]()
    first = step0(method)
    assert first.model.classifier.reserved == 1
    unknown = first.model.classifier.reserved_weight.clone()
    first.model.grow(STEP_1, ("a", "b"), method.init)
    prepare_model(method, first.model.train(), STEP_1)
    classifier = first.model.classifier
    assert torch.equal(classifier.weights[1], unknown.repeat(2, 1, 1, 1))
    trained = {name for name, parameter in first.model.named_parameters() if parameter.requires_grad}
    prefix = "network.decode_head.classifier."
    assert trained == {prefix + name for name in ("weights.1", "biases.1", "reserved_weight", "reserved_bias")}
    assert not any(module.training for module in first.model.network.modules())


def test_ssul_adds_the_unknown_to_the_background_at_test() -> None:
    logits = torch.tensor([-0.5, 0.2, -3.0, 0.1])[None, :, None, None]  # background, two classes, unknown
    scores = METHODS["ssul"]().scores(logits, 3)
    expected = torch.sigmoid(logits)
    torch.testing.assert_close(scores[0, 0], expected[0, 0] + expected[0, 3])
    assert scores.shape[1] == 3
    assert scores.argmax() == 0
    assert logits[:, :3].argmax() == 1


def test_dft_reserves_the_rows_of_all_future_classes_and_takes_them_up_in_order() -> None:
    method = METHODS["dft"]()
    first = step0(method)
    rows = first.model.classifier.reserved_weight.clone()
    assert len(rows) == STEP_0.num_future == 3
    assert first.model(batch(STEP_0).images).logits.shape[1] == 6
    first.model.grow(STEP_1, ("a", "b"), method.init)
    prepare_model(method, first.model.train(), STEP_1)
    classifier = first.model.classifier
    assert torch.equal(classifier.weights[1], rows[:2])
    assert torch.equal(classifier.reserved_weight, rows[2:])
    trained = {name for name, parameter in first.model.named_parameters() if parameter.requires_grad}
    prefix = "network.decode_head.classifier."
    assert trained == {prefix + name for name in ("weights.1", "biases.1", "reserved_weight", "reserved_bias")}
    last = Step(2, 5, 1)
    first.model.grow(last, ("c",), method.init)
    prepare_model(method, first.model, last)
    assert torch.equal(classifier.weights[2], rows[2:])
    assert classifier.reserved == 0


def test_dft_makes_background_of_what_a_future_class_wins() -> None:
    logits = torch.tensor([0.1, 0.5, 0.2, 0.9])[None, :, None, None]
    scores = METHODS["dft"]().scores(logits, 3)
    assert scores.flatten().tolist() == pytest.approx([0.9, 0.5, 0.2])


@pytest.mark.parametrize("base", ["mib", "plop"])
def test_ewf_trains_as_its_base_and_fuses_the_weights(base: str) -> None:
    method = METHODS["ewf"](base=base)
    where = step1(method)
    torch.manual_seed(1)
    own = terms_of(method, where)
    torch.manual_seed(1)
    theirs = terms_of(METHODS[base](), where)
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    old, new = where.teacher.state_dict(), {k: v.clone() for k, v in where.model.state_dict().items()}
    with torch.no_grad():
        method.end_step(where, [])
    weight = (2 / 5) ** 0.5
    for name, fused in where.model.state_dict().items():
        if name in old and fused.is_floating_point():
            torch.testing.assert_close(fused, (1 - weight) * old[name] + weight * new[name])
        else:
            assert torch.equal(fused, new[name])
    assert not where.model.classifier.weights[0].requires_grad


def test_ilt_compares_the_last_stages_features() -> None:
    method = METHODS["ilt"]()
    where = step1(method)
    where.model.eval()
    student, teacher = outputs(method, where, batch(STEP_1))
    expected = 100 * torch.nn.functional.mse_loss(student.features[-1], teacher.features[-1])
    torch.testing.assert_close(terms_of(method, where)["features"], expected)


def test_probabilities_have_the_argmax_of_the_scores() -> None:
    logits = torch.randn(2, 7, 5, 5)
    for name, kind in METHODS.items():
        method = kind()
        scores, probabilities = method.scores(logits, 5), method.probabilities(logits, 5)
        assert scores.shape == probabilities.shape == (2, 5, 5, 5), name
        assert torch.equal(scores.argmax(1), probabilities.argmax(1)), name
