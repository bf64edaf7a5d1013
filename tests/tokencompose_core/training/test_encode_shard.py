from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from data_schemas.rejections import RejectionReason
from tests.tokencompose_core.training.small_run import encode, make_samples
from tokencompose_core.shards.read_shard import GroundedSample
from tokencompose_core.training.crop import crop_image, crop_mask
from tokencompose_core.training.encode_shard import (
    map_sides,
    read_encoded,
    select_samples,
    write_encoded,
)


def test_sides_of_the_maps():
    assert map_sides(4, 64) == [64, 32, 16, 8]
    assert map_sides(3, 15) == [15, 8, 4]


def test_encoding_keeps_what_the_frozen_parts_compute(frozen_parts, encoded):
    vae, text_encoder = frozen_parts.vae, frozen_parts.text_encoder
    tokenizer = frozen_parts.tokenizer
    sample = make_samples()[3]
    with torch.no_grad():
        posterior = vae.encode(crop_image(sample.image, 16)[None]).latent_dist
        ids = tokenizer(sample.caption, padding="max_length", return_tensors="pt").input_ids
        states = text_encoder(ids)[0]
    assert torch.allclose(encoded.latents_mean[3], posterior.mean[0] * 0.5, atol=1e-5)
    assert torch.allclose(encoded.latents_deviation[3], posterior.std[0] * 0.5, atol=1e-5)
    assert torch.allclose(encoded.encoder_hidden_states[3], states[0], atol=1e-5)
    assert encoded.positions[3] == [[2, 3], [6]]
    assert encoded.grids[8].shape == (10, 8, 8)
    assert encoded.grids[4].shape == (10, 4, 4)


def test_what_is_encoded_may_go_through_a_network_that_learns(encoded):
    weight = torch.ones(1, requires_grad=True)
    (encoded.latents_mean * weight).sum().backward()
    assert torch.allclose(weight.grad, encoded.latents_mean.sum())


def test_encoded_samples_survive_the_disk(tmp_path, encoded):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_encoded(tmp_path / name, encoded)
    again = read_encoded([tmp_path / "a"])
    assert (again.keys, again.captions, again.positions) == (
        encoded.keys,
        encoded.captions,
        encoded.positions,
    )
    assert torch.equal(again.latents_mean, encoded.latents_mean)
    assert all(torch.equal(again.grids[side], grid) for side, grid in encoded.grids.items())
    assert len(read_encoded([tmp_path / "a", tmp_path / "b"]).keys) == 10


def test_joined_shards_are_what_one_shard_of_all_samples_is(tmp_path, frozen_parts, encoded):
    samples = make_samples()
    for name, own in (("a", samples[:2]), ("b", samples[2:])):
        (tmp_path / name).mkdir()
        write_encoded(tmp_path / name, encode(frozen_parts, own)[0])
    joined = read_encoded([tmp_path / "a", tmp_path / "b"])
    assert (joined.keys, joined.positions) == (encoded.keys, encoded.positions)
    for name in ("latents_mean", "latents_deviation", "encoder_hidden_states"):
        torch.testing.assert_close(getattr(joined, name), getattr(encoded, name))
    assert all(torch.equal(joined.grids[side], grid) for side, grid in encoded.grids.items())
    assert not torch.equal(encoded.grids[8][:4], encoded.grids[8][4:8]), "masks tell samples apart"


def test_selected_samples_keep_their_phrases(frozen_parts):
    samples = make_samples()
    samples[1] = replace(samples[1], spans=[], masks=[])
    encoded, _ = encode(frozen_parts, samples)
    part = select_samples(encoded, {"004", "001", "000"})
    assert part.keys == ["000", "001", "004"]
    assert [len(phrases) for phrases in part.positions] == [2, 0, 2]
    assert torch.equal(part.latents_mean, encoded.latents_mean[[0, 1, 4]])
    assert torch.equal(part.grids[8], encoded.grids[8][[0, 1, 6, 7]])
    assert select_samples(encoded, set(encoded.keys)) is encoded


def test_lost_phrases_are_reported_and_their_samples_stay(frozen_parts):
    outside = np.zeros((20, 40), dtype=bool)
    outside[:, :4] = True
    inside = np.zeros((20, 40), dtype=bool)
    inside[5:15, 15:25] = True
    sample = GroundedSample(
        key="k",
        image=Image.new("RGB", (40, 20)),
        caption="A cat and a dog " + "so " * 20 + "kite",
        spans=[(2, 5), (12, 15), (76, 80)],
        masks=[outside, inside, inside],
    )
    encoded, rejected = encode(frozen_parts, [sample])
    assert encoded.positions == [[[5]]]
    assert [(r.detail, r.reason) for r in rejected] == [
        ("cat", RejectionReason.PHRASE_CROPPED_AWAY),
        ("kite", RejectionReason.PHRASE_BEYOND_TEXT_LIMIT),
    ]


def test_thin_things_are_not_taken_for_cropped_away(frozen_parts):
    pole = np.zeros((200, 240), dtype=bool)
    pole[20:180, 120] = True
    assert float(crop_mask(pole, 16).max()) < 0.5
    sample = replace(
        make_samples()[0], image=Image.new("RGB", (240, 200)), masks=[pole, ~pole], key="k"
    )
    encoded, rejected = encode(frozen_parts, [sample])
    assert rejected == []
    assert bool(encoded.grids[8][0].any())


def test_shard_without_samples_is_encoded_to_nothing(frozen_parts, encoded, tmp_path):
    nothing, rejected = encode(frozen_parts, [])
    assert (nothing.keys, rejected) == ([], [])
    for name, part in (("a", nothing), ("b", encoded)):
        (tmp_path / name).mkdir()
        write_encoded(tmp_path / name, part)
    assert read_encoded([tmp_path / "a", tmp_path / "b"]).keys == encoded.keys
    with pytest.raises(ValueError, match="no sample"):
        read_encoded([tmp_path / "a"])
