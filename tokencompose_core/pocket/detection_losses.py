"""Losses of Grounding DINO, which groundingdino-py leaves out."""

from collections.abc import Sequence

import torch
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from groundingdino.models.GroundingDINO.utils import gen_encoder_output_proposals
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import (
    box_convert,
    generalized_box_iou,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)


class DetectionCapture:
    """What the losses need of a forward pass and the library does not return."""

    def __init__(self, model: GroundingDINO) -> None:
        self.model = model
        self.num_tokens = 0
        model.transformer.register_forward_hook(self._transformer)
        model.transformer.enc_out_class_embed.register_forward_hook(self._encoder_classes)
        model.transformer.enc_out_bbox_embed.register_forward_hook(self._encoder_boxes)

    def _transformer(self, module, inputs, output) -> None:
        text = inputs[6]
        states, references = output[0], output[1]
        self.num_tokens = text["encoded_text"].shape[1]
        self.token_mask: Bool[Tensor, "batch tokens"] = text["text_token_mask"]
        self.levels = torch.tensor([source.shape[-2:] for source in inputs[0]])
        self.masks = torch.cat([mask.flatten(1) for mask in inputs[1]], dim=1)
        self.classes, self.boxes = [], []
        for layer, state in enumerate(states):
            self.classes.append(self.model.class_embed[layer](state, text)[..., : self.num_tokens])
            reference = torch.special.logit(references[layer], eps=1e-5)
            self.boxes.append((self.model.bbox_embed[layer](state) + reference).sigmoid())

    def _encoder_classes(self, module, inputs, output) -> None:
        self.encoder_classes = output
        self.encoder_memory = inputs[0]

    def _encoder_boxes(self, module, inputs, output) -> None:
        self.encoder_deltas = output

    def encoder_boxes(self) -> Float[Tensor, "batch positions 4"]:
        """Boxes that the encoder proposes at all of its positions, centre and size in [0, 1]."""
        _, proposals = gen_encoder_output_proposals(self.encoder_memory, self.masks, self.levels)
        return (self.encoder_deltas + proposals.masked_fill(proposals.isinf(), 0.0)).sigmoid()


Target = tuple[Float[Tensor, "objects 4"], Bool[Tensor, "objects tokens"]]


def detection_losses(capture: DetectionCapture, targets: Sequence[Target]) -> dict[str, Tensor]:
    """Focal, L1 and GIoU losses of the encoder's proposals and of every decoder layer."""
    losses: dict[str, Tensor] = {}
    assigned = [_centre_positions(boxes, capture.levels) for boxes, _ in targets]
    classes = capture.encoder_classes[..., : capture.num_tokens]
    _add(
        losses,
        "encoder",
        _losses(classes, capture.encoder_boxes(), capture.token_mask, targets, assigned),
    )
    for classes, boxes in zip(capture.classes, capture.boxes, strict=True):
        assigned = [
            _match(classes[i].detach(), boxes[i].detach(), capture.token_mask[i], target)
            for i, target in enumerate(targets)
        ]
        _add(losses, "decoder", _losses(classes, boxes, capture.token_mask, targets, assigned))
    return losses


def _add(losses: dict[str, Tensor], part: str, more: dict[str, Tensor]) -> None:
    for name, value in more.items():
        key = f"{part}_{name}"
        losses[key] = losses[key] + value if key in losses else value


def _losses(
    classes: Float[Tensor, "batch queries tokens"],
    boxes: Float[Tensor, "batch queries 4"],
    token_mask: Bool[Tensor, "batch tokens"],
    targets: Sequence[Target],
    assigned: Sequence[tuple[Tensor, Tensor]],
) -> dict[str, Tensor]:
    positive = torch.zeros_like(classes)
    predicted, wanted = [], []
    for i, ((true_boxes, tokens), (queries, objects)) in enumerate(
        zip(targets, assigned, strict=True)
    ):
        positive[i, queries] = tokens[objects].float()
        predicted.append(boxes[i, queries])
        wanted.append(true_boxes[objects])
    predicted_boxes, wanted_boxes = torch.cat(predicted), torch.cat(wanted)
    count = max(1, len(wanted_boxes))
    real = token_mask[:, None, :].expand_as(classes)
    focal = sigmoid_focal_loss(classes[real], positive[real], alpha=0.25, gamma=2.0)
    giou = generalized_box_iou_loss(
        box_convert(predicted_boxes, "cxcywh", "xyxy"), box_convert(wanted_boxes, "cxcywh", "xyxy")
    )
    return {
        "class": 2.0 * focal.sum() / count,
        "l1": 5.0 * (predicted_boxes - wanted_boxes).abs().sum() / count,
        "giou": 2.0 * giou.sum() / count,
    }


def _match(
    classes: Tensor, boxes: Tensor, token_mask: Tensor, target: Target
) -> tuple[Tensor, Tensor]:
    """Queries and the objects they answer for, by DETR's bipartite matching."""
    true_boxes, tokens = target
    if not len(true_boxes):
        none = torch.zeros(0, dtype=torch.long)
        return none, none
    probabilities = classes.masked_fill(~token_mask, -50.0).sigmoid()
    share = tokens.float() / tokens.sum(dim=1, keepdim=True).clamp(min=1)
    cost = -2.0 * probabilities @ share.T + 5.0 * torch.cdist(boxes, true_boxes, p=1)
    cost -= 2.0 * generalized_box_iou(
        box_convert(boxes, "cxcywh", "xyxy"), box_convert(true_boxes, "cxcywh", "xyxy")
    )
    queries, objects = linear_sum_assignment(cost.numpy())
    return torch.as_tensor(queries), torch.as_tensor(objects)


def _centre_positions(boxes: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder positions at the centres of the objects, on every level."""
    positions, objects, start = [], [], 0
    for height, width in levels.tolist():
        column = (boxes[:, 0] * width).long().clamp(0, width - 1)
        row = (boxes[:, 1] * height).long().clamp(0, height - 1)
        positions.append(start + row * width + column)
        objects.append(torch.arange(len(boxes)))
        start += height * width
    return torch.cat(positions), torch.cat(objects)
