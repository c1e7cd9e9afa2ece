"""Losses against golden values, naive loops and identities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from sats import losses
from sats.losses import portions
from sats.losses.portions import Portion
from sats.losses.regions import resize_labels
from sats.losses.rows import Queries, as_rows
from sats.types import BACKGROUND, IGNORE, AttentionTap, Pooling

Golden = dict[str, Tensor]


def works(monkeypatch: pytest.MonkeyPatch, **changed: object) -> None:
    """Let a processor work otherwise, in some respects as a GPU does."""
    monkeypatch.setitem(portions.WAYS, "cpu", dataclasses.replace(portions.PROCESSOR, **changed))  # type: ignore[arg-type]


def gradient(loss: Callable[[AttentionTap], Tensor], tap: AttentionTap) -> Tensor:
    """Of a loss in the queries and the keys of a tap, one after the other."""
    leaves = [each.clone().requires_grad_() for each in (tap.query, tap.key)]
    value = loss(dataclasses.replace(tap, query=leaves[0], key=leaves[1]))
    return torch.cat([found.flatten() for found in torch.autograd.grad(value, leaves)])


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)


# --- golden values ----------------------------------------------------------------------------------------------------


def test_unbiased_cross_entropy_is_mibs(golden: Golden) -> None:
    actual = losses.unbiased_cross_entropy(golden["logits"], golden["target"], int(golden["num_old"]))
    close(actual, golden["mib_unce"])


def test_unbiased_distillation_is_mibs(golden: Golden) -> None:
    close(losses.unbiased_distillation(golden["logits"], golden["old_logits"]), golden["mib_unkd"])


def test_entropy_is_plops(golden: Golden) -> None:
    close(losses.entropy(golden["old_logits"].softmax(1)), golden["plop_entropy"])


def test_pseudo_labels_of_a_coarser_teacher_are_its_nearest_answers(golden: Golden) -> None:
    old = golden["old_logits"]
    thresholds = torch.full((old.shape[1],), 0.05)
    labels = torch.zeros(old.shape[0], old.shape[2], old.shape[3], dtype=torch.int64)
    coarse = losses.pseudo_labels(labels, old, thresholds)
    fine = losses.pseudo_labels(labels.repeat_interleave(3, 1).repeat_interleave(3, 2), old, thresholds)
    assert torch.equal(fine, coarse.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert (coarse != IGNORE).any()
    histograms = [losses.EntropyHistogram(old.shape[1], old.device) for _ in range(2)]
    histograms[0].add(labels, old)
    histograms[1].add(fine.new_zeros(fine.shape), old)
    assert torch.equal(histograms[0].counts, histograms[1].counts)


def test_attention_transfer_is_the_papers(golden: Golden) -> None:
    new, old = [golden["sat_new_0"], golden["sat_new_1"]], [golden["sat_old_0"], golden["sat_old_1"]]
    close(losses.attention_transfer(new, old, golden["sat_labels"], pooling="class"), golden["sat_class_pooled"])


def test_attention_transfer_with_several_heads(golden: Golden) -> None:
    actual = losses.attention_transfer(
        [golden["sat_heads_new_0"]],
        [golden["sat_heads_old_0"]],
        golden["sat_heads_labels"],
        pooling="class",
        grids=[(6, 10)],
    )
    close(actual, golden["sat_heads_class_pooled"])


@pytest.mark.parametrize("index", [0, 1])
def test_labels_are_resized_as_pillow_does(golden: Golden, index: int) -> None:
    expected = golden[f"sat_resized_{index}"]
    height, width = expected.shape[1:]
    assert torch.equal(losses.resize_labels(golden["sat_labels"], (height, width)), expected)


@given(size=st.tuples(st.integers(1, 97), st.integers(1, 97)), grid=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_labels_are_resized_as_torchs_nearest_exact_does(size: tuple[int, int], grid: tuple[int, int]) -> None:
    labels = torch.arange(size[0] * size[1]).view(1, *size)
    expected = functional.interpolate(labels[None].double(), size=grid, mode="nearest-exact")[0].long()
    assert torch.equal(losses.resize_labels(labels, grid), expected)


# --- classification and distillation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_old", [0, 1])
def test_unbiased_cross_entropy_without_old_classes_is_cross_entropy(golden: Golden, num_old: int) -> None:
    logits, target = golden["logits"], golden["target"]
    close(losses.unbiased_cross_entropy(logits, target, num_old), losses.cross_entropy(logits, target))


def test_ignored_pixels_cost_nothing_and_get_no_gradient() -> None:
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    target = torch.full((1, 3, 3), IGNORE)
    for loss in (losses.cross_entropy(logits, target), losses.unbiased_cross_entropy(logits, target, 2)):
        assert torch.equal(loss, torch.zeros(1, 3, 3))
        loss.sum().backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_unbiased_distillation_without_new_classes_is_cross_entropy_with_the_teacher() -> None:
    logits, old = torch.randn(2, 5, 4, 4), torch.randn(2, 5, 4, 4)
    expected = -(old.softmax(1) * logits.log_softmax(1)).mean()
    close(losses.unbiased_distillation(logits, old), expected)


def test_unbiased_distillation_cannot_tell_background_from_new_classes() -> None:
    """Moving probability from background to a new class changes nothing."""
    old, probabilities = torch.randn(1, 3, 2, 2), torch.rand(1, 5, 2, 2) + 0.1
    moved = probabilities.clone()
    moved[:, 0] -= 0.05
    moved[:, 4] += 0.05
    close(
        losses.unbiased_distillation(probabilities.log(), old),
        losses.unbiased_distillation(moved.log(), old),
    )


# --- pseudo-labels ----------------------------------------------------------------------------------------------------


def test_pseudo_labels_by_a_naive_loop(golden: Golden) -> None:
    old_logits, labels = golden["old_logits"], golden["target"].clone()
    labels[:, :6] = BACKGROUND
    thresholds = torch.tensor([0.05, 0.1, 0.15, 0.2])
    probabilities = old_logits.softmax(1)
    uncertainty = losses.entropy(probabilities)
    expected = labels.clone()
    for b, y, x in torch.nonzero(labels == BACKGROUND).tolist():
        answer = int(probabilities[b, :, y, x].argmax())
        expected[b, y, x] = answer if uncertainty[b, y, x] < thresholds[answer] else IGNORE
    actual = losses.pseudo_labels(labels, old_logits, thresholds)
    assert torch.equal(actual, expected)
    assert (actual == IGNORE).any()
    assert (actual != labels).any()


def test_thresholds_are_medians_of_each_class() -> None:
    torch.manual_seed(0)
    labels, old_logits = torch.randint(0, 3, (4, 31, 17)), 3 * torch.randn(4, 5, 31, 17)
    histogram = losses.EntropyHistogram(5, labels.device)
    for image in range(4):
        histogram.add(labels[image : image + 1], old_logits[image : image + 1])
    probabilities = old_logits.softmax(1)
    uncertainty, classes = losses.entropy(probabilities), probabilities.argmax(1)
    medians = histogram.medians(floor=0.0)
    for index in range(5):
        values = uncertainty[(classes == index) & (labels == BACKGROUND)]
        assert abs(medians[index] - values.median()) <= 1 / (65_536 * 5) + 1e-7


def test_thresholds_have_a_floor_and_survive_unseen_classes() -> None:
    histogram = losses.EntropyHistogram(3, torch.device("cpu"))
    old_logits = torch.zeros(1, 3, 2, 2)
    old_logits[:, 1] = 50.0  # always sure of class 1
    histogram.add(torch.zeros(1, 2, 2, dtype=torch.long), old_logits)
    assert histogram.medians(0.001).tolist() == pytest.approx([0.001] * 3)


def test_entropy_of_a_uniform_distribution_is_its_upper_bound() -> None:
    uniform = torch.full((1, 7, 1, 1), 1 / 7)
    assert losses.entropy(uniform).item() == pytest.approx(1 / 7)
    certain = torch.zeros(1, 7, 1, 1)
    certain[:, 2] = 1
    assert losses.entropy(certain).item() == 0


# --- regions and attention --------------------------------------------------------------------------------------------


def naive_transfer(new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
    """Class pooling with plain loops; ``labels`` [B, h, w] on the map's grid."""
    images = []
    for b in range(len(labels)):
        classes = [c for c in labels[b].unique().tolist() if c not in (BACKGROUND, IGNORE)]
        norms = []
        for c in classes:
            members = (labels[b] == c).flatten()
            heads = [
                (new[b, h][members].mean(0) - old[b, h][members].mean(0)).pow(2).sum().sqrt()
                for h in range(new.shape[1])
            ]
            norms.append(torch.stack(heads).mean())
        images.append(torch.stack(norms).mean() if norms else torch.zeros(()))
    return torch.stack(images).mean()


def random_tap(grid: tuple[int, int], keys: int, heads: int = 3, batch: int = 4) -> AttentionTap:
    query, key = torch.randn(batch, heads, grid[0] * grid[1], 8), torch.randn(batch, heads, keys, 8)
    return AttentionTap(query, key, 8**-0.5, None, grid)


def test_class_pooling_by_a_naive_loop() -> None:
    torch.manual_seed(0)
    new, old = random_tap((6, 5), 7), random_tap((6, 5), 7)
    labels = torch.randint(0, 5, (4, 6, 5))
    labels[labels == 4] = IGNORE
    labels[3] = BACKGROUND  # an image without foreground counts 0
    close(losses.attention_transfer([new], [old], labels), naive_transfer(new.rows(), old.rows(), labels))


def test_global_and_no_pooling_by_their_definitions() -> None:
    new, old = random_tap((6, 5), 7), random_tap((6, 5), 7)
    labels = torch.zeros(4, 6, 5, dtype=torch.long)
    difference = new.rows() - old.rows()
    pooled = difference.mean(2).norm(dim=-1).mean()
    close(losses.attention_transfer([new], [old], labels, pooling="global"), pooled)
    rowwise = difference.norm(dim=-1).mean()
    close(losses.attention_transfer([new], [old], labels, pooling="none"), rowwise)


@pytest.mark.parametrize("pooling", ["class", "global", "none"])
def test_chunks_of_queries_give_the_same_value_and_gradient(pooling: Pooling, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    new, old, labels = random_tap((6, 5), 7), random_tap((6, 5), 7), torch.randint(0, 4, (4, 24, 20))
    results = []
    for rows in (2**24, 4 * 3 * 7 * 4):  # all at once; four queries at a time
        works(monkeypatch, rows=Portion(rows, 0))
        query = new.query.clone().requires_grad_()
        tap = AttentionTap(query, new.key, new.scaling, None, new.grid)
        value = losses.attention_transfer([tap], [old], labels, pooling)
        value.backward()
        assert query.grad is not None
        results.append((value.detach(), query.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("pooling", ["class", "global", "class-pair", "none"])
def test_images_taken_together_as_on_a_gpu_give_the_same_as_one_by_one(
    pooling: Pooling, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where images want different numbers of queries, where there is a mask, and where nothing is asked."""
    torch.manual_seed(0)
    new, old = (dataclasses.replace(random_tap((6, 5), 30), key_grid=(6, 5)) for _ in range(2))
    mask = torch.randn(1, 3, 30, 30)
    new, old = (dataclasses.replace(tap, mask=mask) for tap in (new, old))
    labels = torch.randint(0, 4, (4, 6, 5))
    labels[1], labels[2, 1:] = 0, 255
    alone = losses.attention_transfer([new], [old], labels, pooling)
    expected = gradient(lambda tap: losses.attention_transfer([tap], [old], labels, pooling), new)
    works(monkeypatch, rows=Portion(2**24, 3 * 3 * 30 * 30), asked=asked)
    together = partial(losses.attention_transfer, labels=labels, pooling=pooling, num_classes=6)
    close(together([new], [old]), alone)
    close(together([new.rows()], [old.rows()], grids=[(6, 5)], key_grids=[(6, 5)]), alone)
    close(gradient(lambda tap: together([tap], [old]), new), expected)
    works(monkeypatch, rows=Portion(7 * 3 * 30 * 3, 3 * 3 * 30 * 30), asked=asked)  # and in pieces
    close(gradient(lambda tap: together([tap], [old]), new), expected)


def indices(pieces: list[Queries]) -> list[int]:
    """The queries of one image, in a single piece of its own."""
    (piece,) = pieces
    assert isinstance(piece, Tensor)
    return [int(index) for index in piece[0]]


def test_only_rows_of_regions_are_computed() -> None:
    rows = as_rows(random_tap((6, 5), 7), None, None)
    wanted = torch.zeros(4, 30, dtype=torch.bool)
    wanted[0, 3], wanted[2, 7:9] = True, True
    parts = zip(rows.split(1), wanted.split(1), strict=True)
    assert [indices(part.pieces(some)) for part, some in parts] == [[3], [], [7, 8], []]
    (both,) = rows.pieces(wanted)
    assert isinstance(both, Tensor)
    assert both[:, 0].tolist()[::2] == [3, 7]
    assert both.shape == (4, 2)
    assert rows.pieces(None) == [slice(0, 30)]


def test_a_processor_takes_one_image_a_gpu_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = as_rows(random_tap((6, 5), 7), None, None)
    assert rows.together == 1
    works(monkeypatch, rows=Portion(1, 3 * 30 * 7 * 2))
    assert rows.together == 2


def test_a_class_with_a_place_among_the_keys_alone_is_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thin region may miss the grid of the queries and lie on that of the keys."""
    torch.manual_seed(0)
    new, old = (dataclasses.replace(random_tap((6, 5), 9), key_grid=(3, 3)) for _ in range(2))
    labels = torch.zeros(4, 12, 10, dtype=torch.long)
    labels[:, :4, :4], labels[:, 6, 5] = 1, 2
    transfer = partial(losses.attention_transfer, [new], [old], labels, "class-pair", num_classes=4)
    assert {2} == set(resize_labels(labels, (3, 3)).unique().tolist()) - set(
        resize_labels(labels, (6, 5)).unique().tolist()
    )
    alone = transfer()
    works(monkeypatch, asked=False)
    close(transfer(), alone)


def test_the_value_for_labels_to_ignore_is_that_of_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old, labels = random_tap((6, 5), 7), random_tap((6, 5), 7), torch.randint(0, 4, (4, 24, 20))
    labels[:, :8] = IGNORE
    alone = losses.attention_transfer([new], [old], labels)
    works(monkeypatch, asked=False)
    close(losses.attention_transfer([new], [old], labels, num_classes=1001), alone)


@pytest.mark.parametrize("pooling", ["class", "global", "none"])
def test_taps_and_stored_maps_agree(pooling: Pooling) -> None:
    new, old, labels = random_tap((8, 4), 6), random_tap((8, 4), 6), torch.randint(0, 4, (4, 32, 16))
    stored = losses.attention_transfer([new.rows()], [old.rows()], labels, pooling, grids=[(8, 4)])
    torch.testing.assert_close(losses.attention_transfer([new], [old], labels, pooling), stored, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("pooling", ["class", "global", "none"])
def test_value_and_gradient_are_finite_where_student_and_teacher_agree(pooling: Pooling) -> None:
    tap = random_tap((4, 4), 6)
    query = tap.query.clone().requires_grad_()
    same = AttentionTap(query, tap.key, tap.scaling, None, tap.grid)
    value = losses.attention_transfer([same], [tap], torch.ones(4, 16, 16, dtype=torch.long), pooling)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_a_batch_without_any_foreground_costs_nothing() -> None:
    tap, other = random_tap((4, 4), 6), random_tap((4, 4), 6)
    value = losses.attention_transfer([tap], [other], torch.zeros(4, 16, 16, dtype=torch.long))
    assert value.item() == 0


def test_the_order_of_heads_does_not_matter() -> None:
    """The released code mixes heads with positions; pooling by head is blind to their order."""
    new, old, labels = random_tap((6, 5), 7), random_tap((6, 5), 7), torch.randint(0, 4, (4, 6, 5))
    turned = [AttentionTap(t.query.flip(1), t.key.flip(1), t.scaling, None, t.grid) for t in (new, old)]
    close(losses.attention_transfer([turned[0]], [turned[1]], labels), losses.attention_transfer([new], [old], labels))


def test_the_teacher_gets_no_gradient_from_class_pooling() -> None:
    new, old = random_tap((4, 4), 6), random_tap((4, 4), 6)
    old.query.requires_grad_()
    new.query.requires_grad_()
    losses.attention_transfer([new], [old], torch.ones(4, 16, 16, dtype=torch.long)).backward()
    assert new.query.grad is not None
    assert old.query.grad is None


def test_wrong_grids_and_missing_blocks_are_refused() -> None:
    maps = [torch.rand(1, 1, 12, 4)]
    with pytest.raises(ValueError, match="grids"):
        losses.attention_transfer(maps, maps, torch.ones(1, 8, 8, dtype=torch.long))
    with pytest.raises(ValueError, match="same blocks"):
        losses.attention_transfer(maps, [], torch.ones(1, 8, 8, dtype=torch.long))
    with pytest.raises(ValueError, match="at least one"):
        losses.attention_transfer([], [], torch.ones(1, 8, 8, dtype=torch.long))


@settings(deadline=None)
@given(classes=st.lists(st.sampled_from([0, 1, 2, 7, IGNORE]), min_size=12, max_size=12))
def test_regions_average_over_their_own_pixels(classes: list[int]) -> None:
    labels = torch.tensor(classes).view(1, 3, 4)
    weights, present = losses.class_regions(labels)
    foreground = sorted(set(classes) - {BACKGROUND, IGNORE})
    assert weights.shape == (1, len(foreground), 12)
    assert present.all()
    for row, index in zip(weights[0], foreground, strict=True):
        assert math.isclose(row.sum().item(), 1, rel_tol=1e-5)
        assert torch.equal(row > 0, labels.flatten() == index)


# --- the other methods' losses ----------------------------------------------------------------------------------------


def test_distillation_is_lwfs(golden: Golden) -> None:
    close(losses.distillation(golden["logits"], golden["old_logits"]), golden["lwf_kd"])


def test_lwf_mc_is_icarls(golden: Golden) -> None:
    old = golden["old_logits"].sigmoid()
    close(losses.lwf_mc(golden["logits"], golden["target_current"], old), golden["lwfmc_bce"])


def test_binary_cross_entropy_is_ssuls(golden: Golden) -> None:
    close(losses.binary_cross_entropy(golden["logits"], golden["target"]), golden["ssul_bce"])


def test_binary_cross_entropy_is_built_up_to_the_combined_loss(golden: Golden) -> None:
    """A teacher that is certain distils what a label teaches."""
    logits, classes = golden["logits"], golden["target"].clamp(max=3)
    certain = torch.where(functional.one_hot(classes, 4).movedim(-1, 1) > 0, 40.0, -40.0)
    expected = losses.binary_cross_entropy(logits[:, :4], classes).mean()
    close(losses.binary_distillation(logits, certain), expected)


def maps(golden: Golden, which: str) -> list[Tensor]:
    return [golden[f"pod_{which}_{index}"] for index in range(3)]


def test_local_pod_is_plops(golden: Golden) -> None:
    schedule = math.sqrt(7 / 3)
    old, new = maps(golden, "old"), maps(golden, "new")
    actual = losses.local_pod(old, new, scales=(1, 2, 4), factor=0.01, schedule=schedule)
    close(actual, golden["plop_pod_features_only"])
    old, new = [*old, golden["pod_old_logits"]], [*new, golden["pod_new_logits"]]
    close(losses.local_pod(old, new, factor=0.01, schedule=schedule, logits_factor=0.0005), golden["plop_pod_total"])


def test_pod_embedding_is_plops_but_for_its_order(golden: Golden) -> None:
    actual = losses.pod_embedding(golden["pod_old_0"] ** 2)
    expected = golden["plop_local_pod_embedding_0"]
    torch.testing.assert_close(actual.sort(dim=1).values, expected.sort(dim=1).values)


@given(height=st.integers(1, 9), width=st.integers(1, 9), scale=st.integers(1, 4))
def test_pod_embedding_by_a_naive_loop(height: int, width: int, scale: int) -> None:
    features = torch.arange(2 * 3 * height * width, dtype=torch.float32).view(2, 3, height, width).sin()
    tall, wide = max(1, height // scale), max(1, width // scale)
    strips = []
    for top in range(min(scale, height)):
        for left in range(min(scale, width)):
            cell = features[:, :, top * tall : (top + 1) * tall, left * wide : (left + 1) * wide]
            strips += [cell.mean(dim=3).flatten(1), cell.mean(dim=2).flatten(1)]
    actual = losses.pod_embedding(features, (scale,))
    torch.testing.assert_close(actual.sort(dim=1).values, torch.cat(strips, dim=1).sort(dim=1).values)


def test_pod_wants_the_same_layers() -> None:
    with pytest.raises(ValueError, match="same layers"):
        losses.local_pod([torch.zeros(1, 1, 2, 2)], [])


def test_class_pair_pooling_by_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (2, 24, 40), generator=generator)
    labels[0, :12] = IGNORE
    new, old = (torch.randn(2, 3, 60, 15, generator=generator).softmax(-1) for _ in range(2))
    queries, keys = losses.resize_labels(labels, (6, 10)), losses.resize_labels(labels, (3, 5))
    images = []
    for image in range(2):
        classes = [int(c) for c in queries[image].unique() if c not in (BACKGROUND, IGNORE)]
        distances = []
        for asking in classes:
            rows = queries[image].flatten() == asking
            for head in range(3):
                difference = (new - old)[image, head][rows].mean(0)
                asked = [difference[keys[image].flatten() == other].sum() for other in range(1, 4)]
                distances.append(torch.stack(asked).norm())
        images.append(torch.stack(distances).mean())
    actual = losses.attention_transfer([new], [old], labels, "class-pair", [(6, 10)], [(3, 5)])
    close(actual, torch.stack(images).mean())


def test_class_pair_pooling_needs_keys_on_a_grid() -> None:
    rows = torch.ones(1, 1, 4, 6) / 6
    with pytest.raises(ValueError, match="grid of the 6 keys"):
        losses.attention_transfer([rows], [rows], torch.ones(1, 8, 8, dtype=torch.long), "class-pair")


def test_feature_transfer_by_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 16, 16), generator=generator)
    new, old = (torch.randn(2, 5, 4, 8, generator=generator) for _ in range(2))
    small = losses.resize_labels(labels, (4, 8))
    images = []
    for image in range(2):
        classes = [c for c in (1, 2) if (small[image] == c).any()]
        pooled = [(new - old)[image][:, small[image] == c].mean(1).norm() for c in classes]
        images.append(torch.stack(pooled).mean())
    close(losses.feature_transfer([new], [old], labels), torch.stack(images).mean())
    close(losses.feature_transfer([new], [old], labels, "none"), (new - old).norm(dim=1).mean())


def test_a_teacher_without_background_is_asked_where_no_new_class_is_and_about_old_classes_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 4, 5, generator=generator, requires_grad=True)
    old_logits = torch.randn(2, 4, 4, 5, generator=generator)
    where = torch.rand(2, 4, 5, generator=generator) < 0.5
    value = losses.unbiased_distillation(logits, old_logits, where)
    pixels = -(old_logits.softmax(1) * logits[:, :4].log_softmax(1)).mean(1)
    torch.testing.assert_close(value, pixels[where].sum() / where.numel())
    value.backward()
    assert logits.grad is not None
    assert logits.grad[:, 4:].abs().max() == 0
    assert logits.grad.abs().sum(1)[~where].max() == 0
    everywhere = losses.unbiased_distillation(logits, old_logits)
    assert everywhere != losses.unbiased_distillation(logits, old_logits, torch.ones_like(where))
