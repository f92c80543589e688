"""Golden cases of IRNet: geometry, affinities, random walk, network, losses and labels."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.geometry import Offsets
from harness.data.pixels import normalise, reduce_label
from harness.data.transforms import irn_crop
from harness.ops.affinity import edge_to_affinity, pair_labels, search_geometry
from harness.ops.random_walk import random_walk
from methods.irn.convert import convert_authors
from methods.irn.losses import affinity_terms, displacement_terms, irnet_losses
from methods.irn.model import IRNet
from methods.irn.refine import edge_map, infer_pair, semantic_label, semantic_scores
from tests.dense_walk import dense_affinity, dense_power, dense_transition
from tests.golden.adapters.crf import enlarge, enlarge_maps, grid_image
from tests.golden.case import Case, adapter

LABELS = torch.tensor([0, 0, 3, 15, 255])
NUM_CLASSES = 21
LOGGED = ("affinity_positive", "affinity_negative", "displacement_foreground", "displacement_background")


def _network(case: Case) -> IRNet:
    """IRNet in evaluation mode with the case's upstream state."""
    conversion = convert_authors(case.state())
    assert conversion.complete, (conversion.unmapped, conversion.missing)
    model = IRNet(NUM_CLASSES, {"type": "StageResNet", "depth": 50})
    model.load_state_dict(conversion.state)
    return model.eval()


def _label_counts(label: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return np.array([(label == value).sum() for value in (0, *(keys + 1))])


@adapter("irn.path_index.radius5", "irn.path_index.radius10")
def path_index(case: Case) -> dict[str, Any]:
    geometry, (height, width) = search_geometry(case.config["radius"]), case.config["size"]
    reach, positions = geometry.reach, torch.arange(height * width).view(height, width)
    destinations = np.array(geometry.destinations)
    groups = [list(paths) for _, paths in groupby(geometry.paths, key=len)]
    outputs = {
        "search_dst": destinations,
        "n_pairs": len(geometry.paths),
        "radius_floor": reach,
        "paths_times_length": np.array([[len(paths), len(paths[0])] for paths in groups]),
        "src_indices": geometry.window(positions, (0, 0)).flatten(),
        "dst_indices": torch.stack([geometry.window(positions, offset).flatten() for offset in destinations]),
        "first_path_of_last_length": np.array(groups[-1][0]).ravel(),
    }
    for start in range(0, len(destinations), 64):
        outputs[f"search_dst_y_{start}"] = destinations[start : start + 64, 0]
        outputs[f"search_dst_x_{start}"] = destinations[start : start + 64, 1]
    for number, paths in enumerate(groups):
        index = [
            torch.stack([geometry.window(positions, point).flatten() for point in path]) for path in paths
        ]
        outputs[f"path_indices_{number}"] = torch.stack(index)
    return outputs


def _flat_labels(label: Tensor, radius: int) -> dict[str, Tensor]:
    """The three pair label arrays (pairs, sources) of a label map (h, w)."""
    arrays = pair_labels(label[None], radius, NUM_CLASSES)
    names = ("bg_pos", "fg_pos", "neg")
    return {name: array[0].flatten(1).float() for name, array in zip(names, arrays)}


@adapter("irn.affinity_labels")
def affinity_labels(case: Case) -> dict[str, Any]:
    arrays = _flat_labels(LABELS[case.tensors["pick"]], case.config["radius"])
    return {**arrays, "sums": torch.stack([array.sum() for array in arrays.values()])}


@adapter("irn.edge_to_affinity")
def affinity_of_edge(case: Case) -> dict[str, Any]:
    return {"affinity": edge_to_affinity(case.tensors["edge"], case.config["radius"]).flatten(2)}


@adapter("irn.transition_matrix")
def transition_matrix(case: Case) -> dict[str, Any]:
    edge, radius = case.tensors["edge"][0].clip(0, 1), case.config["radius"]
    transition = dense_transition(edge, radius, case.config["beta"])
    return {
        "dense_affinity": dense_affinity(edge, radius),
        "transition": transition,
        "transition_8": dense_power(transition, 3),
        "column_sums": transition.sum(dim=0),
    }


@adapter("irn.random_walk", "irn.random_walk.beta4")
def walk(case: Case) -> dict[str, Any]:
    settings = {name: case.config[name] for name in ("radius", "beta", "exp_times")}
    edge = case.tensors["edge"][0].clip(0, 1)
    return {"rw": random_walk(case.tensors["x"], edge, **settings).unsqueeze(1)}


@adapter("data.irn_train_sample")
def train_sample(case: Case) -> dict[str, Any]:
    config, image = case.config, grid_image(case)
    label = enlarge(LABELS.numpy()[case.arrays["pick"]], 8, image.shape[:2]).astype(np.uint8)
    drawn = config["drawn"]
    geometry = irn_crop(
        image.shape,
        scale=drawn["scale"],
        flip=drawn["flip"],
        offsets=Offsets(*drawn["horizontal_offset_then_vertical_offset"]),
        crop=config["crop_size"],
    )
    cut = geometry.label(label)
    reduced = reduce_label(cut)
    labels = _flat_labels(torch.tensor(reduced), config["radius"])
    return {"image": geometry.image(image, normalise), "label": cut, "reduced_label": reduced, **labels}


@adapter("irn.forward_infer")
def forward_infer(case: Case) -> dict[str, Any]:
    edge, displacement = infer_pair(_network(case), case.tensors["image_pair"], case.config["crop_size"])
    return {"edge": edge[None], "displacement": displacement}


@adapter("irn.forward_raw")
def forward_raw(case: Case) -> dict[str, Any]:
    model, image = _network(case), case.tensors["image"]
    with torch.no_grad():
        evaluated = model(image)
        trained = model.train()(image)
    return {
        "edge_logit": evaluated["edge_logit"],
        "displacement_eval": evaluated["displacement"],
        "displacement_train": trained["displacement"],
    }


@adapter("irn.forward_loss")
def forward_loss(case: Case) -> dict[str, Any]:
    radius = case.config["radius"]
    with torch.no_grad():
        output = _network(case).train()(case.tensors["image"])
        positive, negative = affinity_terms(output["edge_logit"], radius)
        foreground, background = displacement_terms(output["displacement"], radius)
    target = torch.tensor(search_geometry(radius).destinations, dtype=torch.float32).T
    return {
        "pos_aff_loss": positive.flatten(2),
        "neg_aff_loss": negative.flatten(2),
        "dp_fg_loss": foreground.flatten(3),
        "dp_bg_loss": background.flatten(3),
        "disp_target": target[None, :, :, None],
    }


def _block_labels(case: Case) -> Tensor:
    """Label maps (N, h, w) whose 3x3 blocks are the case's picks."""
    return LABELS[case.tensors["pick"]].repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)


@adapter("irn.loss_total")
def loss_total(case: Case) -> dict[str, Any]:
    radius = case.config["radius"]
    edge_logit = case.tensors["edge_logit"].requires_grad_()
    displacement = case.tensors["displacement"].requires_grad_()
    losses = irnet_losses(
        edge_logit, displacement, _block_labels(case), radius=radius, num_classes=NUM_CLASSES
    )
    losses.total.backward()
    return {
        "affinity": edge_to_affinity(edge_logit.detach().squeeze(1).sigmoid(), radius).flatten(2),
        "bg_pos_aff_loss": losses.background_positive,
        "fg_pos_aff_loss": losses.foreground_positive,
        "pos_aff_loss": losses.positive,
        "neg_aff_loss": losses.negative,
        "dp_fg_loss": losses.displacement_foreground,
        "dp_bg_loss": losses.displacement_background,
        "total": losses.total,
        "grad_edge_logit": edge_logit.grad,
        "grad_displacement": displacement.grad,
    }


@adapter("irn.three_steps")
def three_steps(case: Case) -> dict[str, Any]:
    config, model, labels = case.config, _network(case).train(), _block_labels(case)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rates = [rate * config["lr_scale"] for rate in config["lr"]]
    optimiser = torch.optim.SGD(
        [
            {"params": model.edge_branch.parameters(), "lr": rates[0]},
            {"params": model.displacement_branch.parameters(), "lr": rates[1]},
        ],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
    )
    rows = []
    for step in range(config["steps"]):
        for group, rate in zip(optimiser.param_groups, rates):
            group["lr"] = rate * (1 - step / config["max_step"]) ** config["power"]
        terms = model.loss(case.tensors["image"], labels)
        total = terms["loss_affinity"] + terms["loss_displacement"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        rows.append([*(terms[name].item() for name in LOGGED), total.item()])
    delta = {name: (after - before[name]).detach() for name, after in model.named_parameters()}
    theirs = case.state()
    names = {id(tensor): name for name, tensor in convert_authors(theirs).state.items()}
    return {
        "losses": np.array(rows),
        "unchanged_parameters": sum(not change.any() for change in delta.values()),
        **{f"delta:{name}": delta.get(names[id(tensor)]) for name, tensor in theirs.items()},
    }


@adapter("irn.mean_shift")
def mean_shift(case: Case) -> dict[str, Any]:
    model = _network(case)
    means = model.measure_mean_shift([case.tensors["batch0"], case.tensors["batch1"]])
    return {"batch_means": means, "running_mean": model.mean_shift}


@adapter("irn.sem_seg_label")
def sem_seg_label(case: Case) -> dict[str, Any]:
    config, keys = case.config, case.arrays["keys"]
    settings = {name: config[name] for name in ("radius", "beta", "exp_times")}
    cam, edge = case.tensors["cam"].clip(0, 1), case.tensors["edge"][0].clip(0, 1)
    size = tuple(config["image_size"])
    label = semantic_label(cam, edge, keys, size, background=config["sem_seg_bg_thres"], **settings)
    return {
        "label": label,
        "counts": _label_counts(label, keys),
        "normalised_score": semantic_scores(cam, edge, size, **settings),
    }


@adapter("irn.sem_seg_end_to_end")
def sem_seg_end_to_end(case: Case) -> dict[str, Any]:
    config, keys, image = case.config, case.arrays["keys"], grid_image(case)
    settings = {name: config[name] for name in ("radius", "beta", "exp_times")}
    edge = edge_map(_network(case), image, pad_to=config["crop_size"])
    cam = torch.from_numpy(enlarge_maps(case.arrays["cam"].clip(0, 1), 4, edge.shape))
    size = image.shape[:2]
    label = semantic_label(cam, edge, keys, size, background=config["sem_seg_bg_thres"], **settings)
    return {
        "edge": edge[None],
        "normalised_score": semantic_scores(cam, edge, size, **settings),
        "label": label,
        "counts": _label_counts(label, keys),
    }
