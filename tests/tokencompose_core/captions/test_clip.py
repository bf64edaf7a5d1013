import weakref

import numpy as np
from PIL import Image

from tests.conftest import MODELS
from tokencompose_core.captions.clip import best_caption, embed_images, load_clip, score_captions
from tokencompose_core.pocket.floors.held_out import draw_held_out


def test_batching_changes_no_score_and_scores_are_cosines():
    clip = load_clip(MODELS / "clip", "")
    held_out = draw_held_out(5, seed=0)
    images = [item.image for item in held_out]
    captions = [
        [i.sentence.text, i.wrong.text, "things"][: 1 + n % 3] for n, i in enumerate(held_out)
    ]
    whole = score_captions(clip, images, captions, batch_size=64)
    parts = score_captions(clip, images, captions, batch_size=2)
    assert [len(own) for own in whole] == [1, 2, 3, 1, 2]
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(whole, parts, strict=True))
    assert score_captions(clip, [], [], batch_size=2) == []
    features = clip.model.encode_image(clip.preprocess(images[1])[None], normalize=True)
    text = clip.model.encode_text(clip.tokenizer([captions[1][1]]), normalize=True)
    assert np.isclose(whole[1][1], float(features @ text.T), atol=1e-5)


def test_images_are_let_go_once_they_were_seen():
    clip = load_clip(MODELS / "clip", "")
    seen = []

    def images():
        for number in range(12):
            image = Image.new("RGB", (64, 64), (20 * number, 0, 0))
            seen.append(weakref.ref(image))
            assert sum(reference() is not None for reference in seen) <= 2
            yield image
            del image

    features = embed_images(clip, images(), batch_size=4)
    assert len(features) == len(seen) == 12
    one = embed_images(clip, [Image.new("RGB", (64, 64), (100, 0, 0))], batch_size=4)
    assert np.allclose(one[0], features[5], atol=1e-5)


def test_best_caption_is_the_highest_and_the_first_of_equals():
    assert best_caption(["a", "b", "c"], [0.1, 0.3, 0.2]) == "b"
    assert best_caption(["a", "b", "c"], [0.3, 0.3, 0.2]) == "a"
    assert best_caption(["a"], [-1.0]) == "a"
