"""Golden cases of MCC and ToCo: transformer, heads, forwards, class maps, inference."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.prediction_source import winning_class
from harness.stages.examples import cam_prediction
from methods.mcc.model import MCC
from methods.modules.refined_labels import resize
from methods.modules.vit import ViT
from methods.toco.fused_segmentation import fused_logits
from methods.toco.heads import follow
from methods.toco.model import ToCo
from methods.toco.network import convert_authors
from tests.golden.case import Case, adapter

Network = TypeVar("Network", bound=ToCo)


def network_of(case: Case, kind: type[Network] = MCC, **settings: Any) -> Network:
    """The case's network, loaded through the converter of authors' checkpoints."""
    config = case.config
    with torch.device("meta"):  # filling it with random numbers first would take seconds
        network = kind(
            config["num_classes"] - 1,
            {"auxiliary_block": config["aux_layer"]},
            momentum=config["momentum"],
            scales=config.get("scales", (1.0,)),
            **settings,
        )
    conversion = convert_authors(case.state())
    assert conversion.complete
    network.load_state_dict(conversion.state | {"iteration": torch.tensor(0)}, assign=True)
    return network.eval()


def hidden_keys(policy: Tensor) -> Tensor:
    return policy > 0


def as_rows(tokens: Tensor) -> Tensor:
    """Patch tokens as the release keeps them: (B, D, h, w) to (B, h * w, D)."""
    return tokens.flatten(2).transpose(1, 2)


def forwarded(network: ToCo, image: Tensor) -> dict[str, Tensor]:
    tokens = network.backbone(image)
    main, auxiliary = network.image_logits(tokens)
    return {
        "cls": main,
        "seg": network.decoder(tokens.patches),
        "fmap": tokens.patches,
        "cls_aux": auxiliary,
    }


@adapter(
    "network.forward",
    "network.forward_train_crop",
    "network.forward_odd_size",
    "network.coco_forward",
    method="mcc",
)
@torch.no_grad()
def network_forward(case: Case) -> dict[str, Any]:
    return forwarded(network_of(case), case.tensors["x"])


@adapter("network.forward_cam", method="mcc")
@torch.no_grad()
def network_forward_cam(case: Case) -> dict[str, Any]:
    network = network_of(case)
    main, auxiliary = network.raw_maps(network.backbone(case.tensors["x"]))
    return {"cam_aux": auxiliary, "cam": main}


def projected(network: ToCo, case: Case, local: Tensor) -> dict[str, Tensor]:
    """Both outputs of the contrastive heads, after the teacher has followed the student."""
    follow(network.teacher, network.projector, network.momentum)
    views = torch.stack([network.class_tokens(case.tensors[name]) for name in ("global1", "global2")])
    student, teacher = network.project(views, local)
    return {"out_t": teacher.flatten(0, 1), "out_s": student.flatten(0, 1)}


@adapter("network.forward_views", method="mcc")
@torch.no_grad()
def network_forward_views(case: Case) -> dict[str, Any]:
    network = network_of(case)
    local = network.masked_tokens(case.tensors["local"], case.tensors["masks"] > 0)
    return {
        **forwarded(network, case.tensors["x"]),
        **projected(network, case, local),
        "after.proj_head_t.mlp.0.weight": network.teacher.mlp[0].weight,
        "after.proj_head_t.last_layer.weight_v": network.teacher.last_layer.parametrizations.weight.original1,
    }


@adapter("toco.network.forward_crops", method="mcc")
@torch.no_grad()
def toco_forward_crops(case: Case) -> dict[str, Any]:
    network, crops = network_of(case, ToCo), case.tensors["crops"]
    local = network.class_tokens(crops.flatten(0, 1)).unflatten(0, crops.shape[:2])
    return {**forwarded(network, case.tensors["x"]), **projected(network, case, local)}


def transformer_of(case: Case) -> ViT:
    return network_of(case).backbone


@adapter("encoder.forward_masked", "encoder.forward_all_masked", method="mcc")
@torch.no_grad()
def encoder_forward_masked(case: Case) -> dict[str, Any]:
    tokens = transformer_of(case)(case.tensors["x"], hidden_keys(case.tensors["policy"]))
    return {
        "cls_token": tokens.class_token,
        "patch_tokens": as_rows(tokens.patches),
        "aux_tokens": as_rows(tokens.auxiliary),
    }


@adapter("encoder.tokens", method="mcc")
@torch.no_grad()
def encoder_tokens(case: Case) -> dict[str, Any]:
    return {"tokens": transformer_of(case).embed(case.tensors["x"])}


def attention(block: Any, tokens: Tensor, hidden: Tensor | None) -> Tensor:
    """Probabilities (B, heads, n, n) of a block, which the network itself never holds."""
    layer = block.attn
    shape = (*tokens.shape[:2], 3, layer.num_heads, layer.head_dim)
    query, key, _ = layer.qkv(block.norm1(tokens)).view(shape).permute(2, 0, 3, 1, 4)
    logits = query @ key.transpose(-2, -1) * layer.scale
    if hidden is not None:
        logits = logits.masked_fill(hidden[:, None, None], -torch.inf)
    return logits.softmax(-1)


@adapter("encoder.block_masked", method="mcc")
@torch.no_grad()
def encoder_block_masked(case: Case) -> dict[str, Any]:
    tokens, hidden = case.tensors["x"], hidden_keys(case.tensors["policy"])
    block = transformer_of(case).blocks[case.config["block"]]
    mask = ~hidden[:, None, None].expand(-1, -1, tokens.shape[1], -1)
    return {
        "x_masked": block(tokens, attn_mask=mask),
        "attn_masked": attention(block, tokens, hidden),
        "x_plain": block(tokens),
        "attn_plain": attention(block, tokens, None),
    }


@adapter("heads.decoder_and_projector", method="mcc")
@torch.no_grad()
def decoder_and_projector(case: Case) -> dict[str, Any]:
    network = network_of(case)
    return {
        "seg": network.decoder(case.tensors["fmap"]),
        "proj": network.projector(case.tensors["token"]),
    }


@adapter("cam.multi_scale", method="mcc")
@torch.no_grad()
def cam_multi_scale(case: Case) -> dict[str, Any]:
    network, image = network_of(case), case.tensors["x"]
    known = network.raw_maps(network.backbone(image))  # as in training
    main, auxiliary = network.class_maps(image, known=known)
    torch.testing.assert_close(network.class_maps(image), torch.stack([main, auxiliary]))
    return {"cam": main, "cam_aux": auxiliary, "grid": list(network.backbone.grid(image))}


@adapter("infer.seg_voc", method="mcc")
@torch.no_grad()
def infer_seg_voc(case: Case) -> dict[str, Any]:
    image = case.tensors["x"]
    size = (image.shape[-2], image.shape[-1])
    logits = fused_logits(network_of(case), image, size, case.config["scales"], "sum", "max")
    return {"seg": logits[None], "pred": logits[None].argmax(1)}


@adapter("infer.seg_coco", method="mcc")
@torch.no_grad()
def infer_seg_coco(case: Case) -> dict[str, Any]:
    image, side = case.tensors["x"], case.config["square"]
    size = (image.shape[-2], image.shape[-1])
    square = resize(image, (side, side))
    logits = fused_logits(network_of(case), square, size, case.config["scales"], "max", "sum")
    return {"seg": logits[None], "pred": logits[None].argmax(1)}


@adapter("infer.validate_voc", method="mcc")
@torch.no_grad()
def infer_validate_voc(case: Case) -> dict[str, Any]:
    network, image, config = network_of(case), case.tensors["x"], case.config
    size = (image.shape[-2], image.shape[-1])
    square = resize(image, (config["crop_size"],) * 2)
    outputs = forwarded(network, square)
    maps = [resize(found, size) for found in network.class_maps(square)]
    keys = case.arrays["cls_label"][0].nonzero()[0]
    labels = [cam_prediction(keys, found[0, keys].numpy(), config["bkg_thre"]).mask for found in maps]
    return {
        "cls": outputs["cls"],
        "seg": F.interpolate(outputs["seg"], size, mode="bilinear"),
        "seg_pred": winning_class(outputs["seg"][0].numpy(), size)[None],
        "cam": maps[0],
        "cam_aux": maps[1],
        "cam_label": labels[0][None],
        "cam_aux_label": labels[1][None],
    }
