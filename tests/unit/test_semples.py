"""SemPLeS: the trainings against their straightforward form, switches, what is frozen, texts, prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor

from harness.data.shapes import picture_index
from harness.data.shapes_scene import CLASSES, TEXTURES, draw_scene, scene_words
from harness.errors import InputError
from methods.semples.clip import CLIPTowers
from methods.semples.convert import convert_prompts
from methods.semples.losses import Pairs, cosine, repel, repel_by_log
from methods.semples.model import (
    ContrastivePrompts,
    PromptGuidedRefinement,
    SegmentLabelMatching,
    SemPLeS,
)
from methods.semples.pair import CaptionContrast, _some, caption
from methods.semples.text import END, INNER_STOP, PREFIX, START, class_texts, nearest_tokens, tokenize

CLIP = {
    "embed_dim": 16,
    "image_size": 32,
    "vision_layers": 1,
    "vision_width": 64,
    "patch_size": 16,
    "context_length": 16,
    "text_width": 64,
    "text_heads": 1,
    "text_layers": 1,
}
NETWORK = {
    "num_classes": 10,
    "backbone": {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 2},
    "reduction": 2,
}
LABELS = torch.zeros(3, 10)
LABELS[0, 2] = LABELS[0, 7] = LABELS[2, 7] = 1


def make(kind: type[SemPLeS], **options: Any) -> Any:
    torch.manual_seed(0)
    model = kind(NETWORK, CLIP, "shapes", **options)
    for parameter in model.network.parameters():
        parameter.data.normal_(std=0.3)
    # Cosines of this CLIP are positive, so that none is clamped.
    for name in ("visual.proj", "text_projection"):
        model.clip.get_parameter(name).data.abs_()
    for name in ("visual.ln_post.bias", "ln_final.bias"):
        model.clip.get_parameter(name).data.fill_(0.5)
    return model.eval()


def matching(**options: Any) -> SegmentLabelMatching:
    found: SegmentLabelMatching = make(SegmentLabelMatching, **{"back_weight": 2.4, **options})
    return found


def prompting(**options: Any) -> ContrastivePrompts:
    found: ContrastivePrompts = make(ContrastivePrompts, **{"text_weight": 0.5, "length": 4, **options})
    return found


def refinement(**options: Any) -> PromptGuidedRefinement:
    weights = {"back_weight": 2.4, "refine_weight": 0.3, "length": 4}
    found: PromptGuidedRefinement = make(PromptGuidedRefinement, **{**weights, **options})
    found.learned.prompts.data.uniform_()
    return found


def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def straightforward(model: SegmentLabelMatching, inputs: Tensor, labels: Tensor) -> Tensor:
    """The loss of (a) or (c) pair by pair: all maps resized, texts and prompts encoded for each pair."""
    large = F.interpolate(
        model.network.cams(model.network.features(inputs)).refined(),
        size=inputs.shape[-2:],
        mode="bilinear",
        align_corners=True,
    )
    terms: list[Tensor] = []
    for image in range(len(inputs)):
        for index in range(labels.shape[1]):
            if not labels[image, index]:
                continue
            own = large[image, index]
            mask = (own - own.min()) / (own.max() - own.min() + model.mask_eps)
            text = model.clip.text_features(model.tokens[index : index + 1])
            front = model.clip.image_features((mask * inputs[image])[None])
            back = model.clip.image_features(((1 - mask) * inputs[image])[None])
            term = -cosine(front, text).log() - model.back_weight * (1 - cosine(back, text)).log()
            if isinstance(model, PromptGuidedRefinement):
                prompt = model.clip.prompt_features(model.learned.prompts[index : index + 1])
                again = model.clip.image_features((mask * inputs[image])[None])
                term = term - model.refine_weight * (1 - cosine(again, prompt)).log()
            terms.append(term)
    return torch.cat(terms).mean()


@pytest.mark.parametrize("model", [matching(), refinement()], ids=["match", "refine"])
def test_a_step_equals_its_straightforward_form(model: SegmentLabelMatching) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    slow = straightforward(model, images(), LABELS)
    fast = torch.stack(list(model.loss(images(), LABELS).values())).sum()
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    for ours, plain in zip(
        torch.autograd.grad(fast, parameters), torch.autograd.grad(slow, parameters), strict=True
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("model", [matching(), refinement()], ids=["match", "refine"])
def test_head_and_fusion_are_all_that_learns(model: SemPLeS) -> None:
    sum(model.train().loss(images(), LABELS).values()).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    assert {name.split(".")[1] for name in moved} == {"head", "fusion"}
    assert len(moved) == 8
    assert model.network.training
    assert not model.clip.training


def test_prompts_are_all_that_learns_in_their_training() -> None:
    model = prompting()
    sum(model.train().loss(images(), LABELS).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["learned.prompts"]
    assert not model.network.training
    present = model.learned.prompts.grad.flatten(1).abs().sum(1) > 0
    assert present.nonzero().flatten().tolist() == [2, 7]


@pytest.mark.parametrize("model", [matching(), prompting(), refinement()], ids=["a", "b", "c"])
def test_one_pair_and_none(model: SemPLeS) -> None:
    one = torch.zeros(3, 10)
    one[1, 4] = 1
    assert torch.isfinite(sum(model.loss(images(), one).values()))
    nothing = sum(model.loss(images(), torch.zeros(3, 10)).values())
    nothing.backward()
    assert nothing == 0


def test_checkpoints_leave_clip_out_and_loading_keeps_it() -> None:
    model, other = matching(), matching()
    other.clip.text_projection.data.mul_(2)
    kept = other.clip.text_projection.clone()
    state = model.state_dict()
    assert not [name for name in state if name.startswith("clip.")]
    other.load_state_dict(state)
    torch.testing.assert_close(other.clip.text_projection, kept)
    del state["network.head.bias"]
    with pytest.raises(RuntimeError, match=r"network\.head\.bias"):
        other.load_state_dict(state)


def test_texts_are_those_of_the_clip_that_is_loaded() -> None:
    model = matching()
    before = model.texts()
    model.clip.text_projection.data.mul_(2)
    model.load_state_dict(model.state_dict())
    torch.testing.assert_close(model.texts(), 2 * before)


def test_switch_mask_eps_makes_masks_fainter() -> None:
    pairs = Pairs.of(LABELS)
    strong, faint = (matching(mask_eps=eps).masked(images(), pairs).front for eps in (1e-4, 10.0))
    assert faint.abs().mean() < 0.5 * strong.abs().mean()


def test_switch_clip_normalise_gives_clip_its_own_statistics() -> None:
    pairs = Pairs.of(LABELS)
    released, own = (matching(clip_normalise=switch).masked(images(), pairs) for switch in (False, True))
    black = torch.tensor([-2.1179, -2.0357, -1.8044]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    expected = torch.tensor([-1.7923, -1.7521, -1.4802]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(matching().for_clip(black), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        own.front + own.back, matching().for_clip(images())[pairs.images], atol=1e-5, rtol=1e-5
    )
    assert not torch.allclose(released.front, own.front)


def test_switch_init_of_prompts() -> None:
    uniform, normal = (prompting(init=kind).learned.prompts.detach() for kind in ("uniform", "normal"))
    assert uniform.min() >= 0
    assert 0.4 < uniform.mean() < 0.6
    assert float(normal.std()) == pytest.approx(0.02, rel=0.1)


def test_switch_text_repulsion() -> None:
    released, other = prompting(), prompting(text_repulsion="neg_log_one_minus")
    assert released.off_text is repel_by_log
    assert other.off_text is repel
    similarity = torch.tensor([0.2, 0.4], requires_grad=True)
    for term in (repel_by_log, repel):  # both push the similarity down
        (gradient,) = torch.autograd.grad(term(similarity), similarity)
        assert (gradient > 0).all()


def test_channels_and_names_must_agree() -> None:
    with pytest.raises(ValueError, match="20 names, the network 10 channels"):
        SegmentLabelMatching(NETWORK, CLIP, "voc", back_weight=1.0)


def test_a_prompt_of_token_embeddings_is_that_text() -> None:
    torch.manual_seed(0)
    clip = CLIPTowers(**CLIP).eval()
    words = [2368, 1929, 6716]
    ids = torch.tensor([[START, *PREFIX, *words, INNER_STOP, END, 0, 0]])
    prompt = clip.token_embedding(torch.tensor([words]))
    torch.testing.assert_close(clip.prompt_features(prompt), clip.text_features(ids))
    with pytest.raises(ValueError, match="do not fit into 16 tokens"):
        clip.prompt_features(torch.zeros(1, 11, 64))


def test_what_follows_a_text_does_not_matter() -> None:
    torch.manual_seed(0)
    clip = CLIPTowers(**CLIP).eval()
    tokens = tokenize(["a photo of cat.", "a photo of potted plant."], 16)
    torch.testing.assert_close(clip.text_features(tokens)[:1], clip.text_features(tokens[:1]))


def test_texts_that_cannot_be_had() -> None:
    with pytest.raises(InputError, match="there are no class texts 'vok'"):
        class_texts("vok")
    with pytest.raises(InputError, match="shorten it"):
        tokenize(["a b c d e"], 6)
    assert len(class_texts("coco90").sentences()) == 90


def test_inspection_names_the_tokens_that_prompts_are_nearest_to() -> None:
    model = prompting()
    ids = tokenize(["cat dog"])[0, 1:3]
    model.learned.prompts.data[3, :2] = 3 * model.clip.token_embedding(ids)
    found = model.inspection()
    shown = found["prompts"]
    assert list(shown) == list(CLASSES)
    assert [token for token, _ in shown["plus"][:2]] == ["cat ", "dog "]
    assert shown["plus"][0][1] == pytest.approx(1.0)
    # The other vectors of that class are still what they were drawn as; their tokens mean nothing.
    assert 0 < found["chance"] < 0.7 < shown["plus"][0][1]
    assert nearest_tokens(torch.zeros(0, 64), model.clip.token_embedding.weight) == []


def test_released_prompts_convert() -> None:
    prompts = torch.rand(20, 30, 512)
    found = convert_prompts({"prompts": prompts})
    assert found.complete
    assert found.state["prompts"] is prompts
    strange = convert_prompts({"token": prompts})
    assert (strange.unmapped, strange.missing) == (["token"], ["prompts"])


def test_scene_words_are_those_of_the_picture() -> None:
    for index in range(40):
        words, scene = scene_words(0, index), draw_scene(0, index)
        assert {CLASSES[found.label] for found in scene.objects} <= set(words.classes)
        assert words.texture in TEXTURES
    plain = [i for i in range(60) if scene_words(0, i).texture == "plain"]
    checks = [i for i in range(60) if scene_words(0, i).texture == "checks"]
    corner = {i: draw_scene(0, i).image[:, :, 1].astype(int) for i in (*plain, *checks)}
    edges = {i: abs(corner[i][:, 1:] - corner[i][:, :-1]).mean() for i in corner}
    assert sum(edges[i] for i in plain) / len(plain) < sum(edges[i] for i in checks) / len(checks)


def _sample(image_id: str, classes: list[int]) -> SegDataSample:
    sample = SegDataSample(metainfo={"image_id": image_id})
    sample.set_data({"image_labels": torch.zeros(10).index_fill(0, torch.tensor(classes), 1)})
    return sample


def test_captions_are_true_and_other_datasets_are_told() -> None:
    assert caption(["drum", "star", "waves"]) == "a photo of drum and star on waves."
    assert caption(["waves"]) == "a photo of waves."
    pair = CaptionContrast(CLIP)
    known = scene_words(0, picture_index("train_000003"))
    inside, outside = CLASSES.index(known.classes[0]), _absent(known.classes)
    assert pair.words(_sample("train_000003", [inside])) == [known.classes[0], known.texture]
    with pytest.raises(InputError, match="scenes_seed"):
        pair.words(_sample("train_000003", [outside]))


def _absent(classes: tuple[str, ...]) -> int:
    return next(index for index, name in enumerate(CLASSES) if name not in classes)


def test_a_caption_counts_for_every_picture_that_it_is_true_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.semples.pair._some", lambda words: tuple(words[:1]))
    pair = CaptionContrast(CLIP)
    pair.scale.data.fill_(-torch.inf)  # all logits are the bias
    loss = pair.loss(images()[:2], [["drum", "star"], ["star"]])["loss_pairs"]
    true, false = F.softplus(-pair.bias), F.softplus(pair.bias)
    torch.testing.assert_close(loss, (2 * true + (true + false)) / 2)


def test_the_small_clip_sees_pictures_through_masks() -> None:
    seen: list[Tensor] = []
    pair = CaptionContrast(CLIP, masked=1.0)
    pair.clip.visual.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pair.loss(images(), [["drum"], ["star"], ["plain"]])
    pair.masked = 0.0
    pair.loss(images(), [["drum"], ["star"], ["plain"]])
    assert (seen[0].abs() <= images().abs()).all()
    assert seen[0].abs().mean() < 0.8 * images().abs().mean()
    torch.testing.assert_close(seen[1], images())


def test_show_says_where_no_prompts_are(tmp_path: Path) -> None:
    from leaderboard.prompts_view import _inspection, _table

    assert _inspection(tmp_path / "inspection.json") == {}
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="run the stage again"):
        _inspection(tmp_path / "broken.json")
    table = _table("b", {"prompts": {"drum": [["cat ", 0.5], ["dog", 0.7]]}, "chance": 0.18})
    assert "0.18" in str(table.caption)
    assert [list(column.cells) for column in table.columns] == [["drum"], ["cat dog"], ["0.60"]]


def test_a_caption_names_a_class_wherever_there_is_one() -> None:
    torch.manual_seed(0)
    told = {_some(["drum", "star", "waves"]) for _ in range(60)}
    assert told == {("drum",), ("star",), ("drum", "star"), ("drum", "waves"), ("star", "waves")}
    assert _some(["waves"]) == ("waves",)
