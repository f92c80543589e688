"""VWE and its variants: what learns, how words are assigned, how the memory bank moves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample

from harness.errors import InputError
from methods.vwe.encoder import assign_words, update_codebook, word_means
from methods.vwe.losses import decorrelation_loss, hybrid_pool
from methods.vwe.model import VWE

SMALL = {"type": "StageResNet", "depth": 18, "base_channels": 8}


def network(variant: str, **options) -> VWE:
    torch.manual_seed(0)
    return VWE(4, SMALL, variant=variant, k_words=16, **options).train()


def batch() -> dict:
    samples = []
    for labels in ([1, 0, 0, 1], [0, 1, 0, 0]):
        sample = SegDataSample()
        sample.set_data({"image_labels": torch.tensor(labels, dtype=torch.float32)})
        samples.append(sample)
    inputs = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    return {"inputs": inputs, "data_samples": samples}


def learned(model: VWE) -> set[str]:
    """Top-level or backbone-level names of the parameters that receive a gradient from the loss."""
    total, _ = model.parse_losses(model(**batch(), mode="loss"))
    total.backward()
    names = (name.removeprefix("backbone.") for name, p in model.named_parameters() if p.grad is not None)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("variant", "terms"),
    [
        ("vwe", {"loss_image", "loss_word", "loss_hist", "entropy"}),
        ("vwl_learned", {"loss_image", "loss_word", "loss_hist", "loss_decov", "entropy"}),
        ("vwl_memory", {"loss_image", "loss_word", "hist", "entropy"}),
    ],
)
def test_loss_terms_of_the_variants(variant, terms):
    assert set(network(variant)(**batch(), mode="loss")) == terms


@pytest.mark.parametrize(
    ("variant", "options", "names"),
    [
        ("vwe", {}, {"layer3", "layer4", "classifier", "fc_a", "fc_b", "codebook"}),
        (
            "vwe",
            {"detach_layer2": False},
            {"layer1", "layer2", "layer3", "layer4", "classifier", "fc_a", "fc_b", "codebook"},
        ),
        ("vwe", {"hist_weight": 0.0}, {"layer3", "layer4", "classifier", "fc_b"}),
        ("vwl_memory", {}, {"layer1", "layer2", "layer3", "layer4", "classifier", "fc_b"}),
    ],
)
def test_what_learns(variant, options, names):
    assert learned(network(variant, **options)) == names


def test_histogram_loss_reaches_only_codebook_and_its_head():
    model = network("vwe")
    model(**batch(), mode="loss")["loss_hist"].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"codebook", "fc_a.weight"}


def test_labels_name_the_words_of_the_positions():
    features = torch.randn(3, 8, 4, 5, generator=torch.Generator().manual_seed(0))
    codebook = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    words = assign_words(features, codebook)
    similarity = torch.einsum("ndhw,kd->nkhw", F.normalize(features, dim=1), F.normalize(codebook, dim=1))
    assert torch.equal(words.index, words.soft.argmax(dim=1))
    assert torch.equal(words.index, similarity.argmax(dim=1))
    one_hot = F.one_hot(words.index, 6).amax(dim=(1, 2)).float()
    assert torch.equal(words.labels, one_hot)
    torch.testing.assert_close(words.histogram.sum(dim=1).flatten(), torch.full((3,), 20.0))


def test_word_means_equal_the_one_hot_product():
    features = torch.rand(2, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    index = torch.randint(0, 7, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    means, counts = word_means(features, index, 8)
    one_hot = F.one_hot(index, 8).float()
    sums = torch.einsum("nhwk,ndhw->kd", one_hot, features)
    assert torch.equal(counts, one_hot.sum(dim=(0, 1, 2)).long())
    torch.testing.assert_close(means, sums / (counts[:, None] + 1e-4))


def test_row_without_members_only_shrinks():
    codebook = torch.rand(3, 5)
    features = torch.rand(1, 5, 2, 2)
    updated = update_codebook(codebook, features, torch.zeros(1, 2, 2, dtype=torch.int64))
    torch.testing.assert_close(updated[1:], codebook[1:] * (1 - 1e-3))


def test_memory_bank_is_drawn_from_the_first_batch_and_then_averaged():
    model = network("vwl_memory")
    features = model.outputs(batch()["inputs"]).features
    torch.manual_seed(3)
    model(**batch(), mode="loss")
    positions = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    assert (model.codebook[:, None] == positions).all(dim=2).any(dim=1).all()

    first = model.codebook.clone()
    words = assign_words(features, first)
    model(**batch(), mode="loss")
    torch.testing.assert_close(model.codebook, update_codebook(first, features, words.index))


def test_memory_bank_is_reproducible_and_survives_a_checkpoint():
    banks = []
    for _ in range(2):
        model = network("vwl_memory")
        torch.manual_seed(5)
        model(**batch(), mode="loss")
        banks.append(model.codebook.clone())
    assert torch.equal(*banks)
    resumed = network("vwl_memory")
    resumed.load_state_dict(model.state_dict())
    assert bool(resumed.codebook_sampled)
    assert torch.equal(resumed.codebook, model.codebook)


def test_evaluation_leaves_the_memory_bank_alone():
    model = network("vwl_memory").eval()
    before = model.codebook.clone()
    model(**batch(), mode="loss")
    assert torch.equal(model.codebook, before)


def test_cams_do_not_need_the_hybrid_pooling():
    # A feature map of 3 x 3 is too small for HSPP's windows; the released code fails here.
    assert network("vwe")(torch.randn(1, 3, 48, 48)).shape == (1, 4, 3, 3)
    with pytest.raises(InputError, match="3 x 3 is too small"):
        hybrid_pool(torch.rand(1, 2, 3, 3))


def test_hybrid_pool_drops_incomplete_windows_and_has_more_than_the_level_says():
    features = torch.zeros(1, 1, 7, 7)
    features[..., 6, 6] = 49.0
    # Level 2: windows of 3, the last row and column dropped. Level 4: windows of 1, seven by seven of them.
    expected = (2 * 1.0 + 49.0 + 0.0 + 1.0) / 5
    assert hybrid_pool(features).item() == pytest.approx(expected)


def test_decorrelation_is_zero_for_orthogonal_rows():
    rows = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    assert decorrelation_loss(rows).item() == pytest.approx(0.0, abs=1e-6)
    assert decorrelation_loss(torch.stack([rows[0], rows[0]])).item() > 0.1


def test_unknown_variant_is_named():
    with pytest.raises(InputError, match=r"no variant 'vwl_learnt' \(did you mean 'vwl_learned'\?\)"):
        VWE(4, SMALL, variant="vwl_learnt")


@pytest.mark.parametrize("mode", ["predict", "loss", "banana"])
def test_modes_that_cannot_be_served_say_so(mode):
    model = network("vwe")
    if mode == "predict":
        samples = model(**batch(), mode="predict")
        assert samples[0].cam.data.shape == (4, 6, 6)
        return
    with pytest.raises(ValueError, match=mode):
        model(batch()["inputs"], None if mode == "loss" else batch()["data_samples"], mode)
