"""Detections are those of transformers' plain call, one image at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou
from transformers import (
    Owlv2ForObjectDetection,
    Owlv2Processor,
    OwlViTForObjectDetection,
    OwlViTProcessor,
)

from data_schemas.evaluation_records import LOWEST_SCORE
from tests.conftest import MODELS
from tests.tiny_detectors import write_owlvit
from tokencompose_core.evaluation.detect import Detection, detect_categories
from tokencompose_core.evaluation.detectors import OwlDetector, load_detector
from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.floors.held_out import draw_held_out

QUERY = "a photo of a {name}"
VOCABULARY = sorted(category.name for category in CATEGORIES)
NUM_IMAGES = 7


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Scenes of several shapes, one of them of the size that the pocket profile generates."""
    scenes = [item.image for item in draw_held_out(NUM_IMAGES, seed=61)]
    assert len({image.size for image in scenes}) > 2
    return [scenes[0].resize((64, 64)), *scenes[1:]]


@pytest.fixture(scope="module")
def asked() -> list[list[str]]:
    """From one to five categories an image, in no order."""
    rng = np.random.default_rng(3)
    return [list(rng.permutation(VOCABULARY)[: 1 + n % 5]) for n in range(NUM_IMAGES)]


@pytest.fixture(scope="module", params=["owlv2", "owlvit"])
def both(request, tmp_path_factory) -> tuple[OwlDetector, object, object]:
    """A detector, and model and processor as transformers loads them."""
    if request.param == "owlv2":
        folder, kinds = MODELS / "owlv2", (Owlv2ForObjectDetection, Owlv2Processor)
    else:
        folder = write_owlvit(tmp_path_factory.mktemp("owlvit"))
        kinds = (OwlViTForObjectDetection, OwlViTProcessor)
    model = kinds[0].from_pretrained(folder).eval()
    processor = kinds[1].from_pretrained(folder, use_fast=False)
    return load_detector(request.param, folder), model, processor


@torch.inference_mode()
def plain(model, processor, image: Image.Image, names: Sequence[str], threshold: float) -> list:
    """What the published evaluations do: scores, names and boxes, best first."""
    texts = [[QUERY.format(name=name) for name in names]]
    inputs = processor(text=texts, images=image, return_tensors="pt")
    (found,) = processor.image_processor.post_process_object_detection(
        model(**inputs), threshold=threshold, target_sizes=[(image.height, image.width)]
    )
    rows = zip(found["scores"].tolist(), found["labels"], found["boxes"].tolist(), strict=True)
    return sorted(((s, names[int(n)], box) for s, n, box in rows), reverse=True)


def detect(detector, images, asked, **options) -> list[list[Detection]]:
    settings = {"vocabulary": VOCABULARY, "query": QUERY, "batch_size": 3, **options}
    return list(detect_categories(detector, images, asked, **settings))


@pytest.mark.parametrize("batch_size", [1, 3, NUM_IMAGES])
def test_boxes_are_those_of_the_plain_call(both, images, asked, batch_size):
    detector, model, processor = both
    found = detect(detector, images, asked, batch_size=batch_size)
    assert len(found) == len(images)
    total = 0
    for own, image, names in zip(found, images, asked, strict=True):
        own = [d for d in own if d.score > LOWEST_SCORE]
        wanted = plain(model, processor, image, names, LOWEST_SCORE)
        assert [d.category for d in own] == [name for _, name, _ in wanted]
        assert np.allclose([d.score for d in own], [s for s, _, _ in wanted], atol=1e-4)
        boxes = np.array([d.box_xyxy for d in own]) / max(image.size)
        assert np.allclose(boxes, np.array([b for *_, b in wanted]) / max(image.size), atol=1e-4)
        total += len(own)
    assert total > 10 * len(images)


def test_rival_is_the_best_of_the_whole_vocabulary(both, images, asked):
    detector, model, processor = both
    others = kept_for_rival = 0
    for own, image in zip(detect(detector, images, asked), images, strict=True):
        by_rival = sorted(((d.rival_score, d.rival, list(d.box_xyxy)) for d in own), reverse=True)
        wanted = plain(model, processor, image, VOCABULARY, LOWEST_SCORE)
        assert [name for _, name, _ in by_rival] == [name for _, name, _ in wanted]
        assert np.allclose([r[0] for r in by_rival], [r[0] for r in wanted], atol=1e-4)
        assert np.allclose([r[2] for r in by_rival], [r[2] for r in wanted], atol=0.02)
        assert all(d.rival_score >= d.score for d in own)
        others += sum(d.rival != d.category for d in own)
        kept_for_rival += sum(d.score <= LOWEST_SCORE for d in own)
    assert others > 0
    assert kept_for_rival > 0


def test_boxes_in_images_that_are_not_square_lie_on_their_objects():
    """What 1 is in a box is the longer side in both directions, not each side in its own."""
    detector = load_detector("owlv2", MODELS / "owlv2")
    things = [
        (item.image, thing)
        for item in draw_held_out(40, seed=62)
        for thing in item.scene.objects
        if item.image.width != item.image.height
        and item.scene.names.count(thing.category.name) == 1
    ]
    found = detect(detector, [i for i, _ in things], [[o.category.name] for _, o in things])
    boxes = torch.tensor([own[0].box_xyxy for own in found])
    truth = torch.tensor([thing.box_xyxy for _, thing in things], dtype=torch.float32)
    sides = torch.tensor([image.size * 2 for image, _ in things])
    squashed = boxes * sides / sides.amax(dim=1, keepdim=True)
    overlaps = [float(box_iou(some, truth).diagonal().mean()) for some in (boxes, squashed)]
    assert overlaps[0] > 0.5
    assert overlaps[0] > overlaps[1] + 0.1


@pytest.fixture
def cores() -> Iterator[None]:
    """What a test sets, the next one shall not find."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.usefixtures("cores")
def test_pictures_may_come_as_a_stream_that_is_read_a_batch_a_thread_ahead(
    both, images, asked, num_threads
):
    torch.set_num_threads(num_threads)
    detector = both[0]
    taken = []

    def stream() -> Iterator[Image.Image]:
        for number, image in enumerate(images):
            taken.append(number)
            yield image

    found = detect_categories(
        detector, stream(), asked, vocabulary=VOCABULARY, query=QUERY, batch_size=1
    )
    first = next(found)
    assert len(taken) == num_threads + 1
    assert [first, *found] == detect(detector, images, asked, batch_size=1)


def test_more_and_fewer_pictures_than_lists_of_categories(both, images, asked):
    with pytest.raises(ValueError, match="fewer images than the 7"):
        detect(both[0], images[:-1], asked)
    with pytest.raises(ValueError, match="more images than the 6"):
        detect(both[0], images, asked[:-1])


def test_categories_that_cannot_be_looked_for_are_named(both, images):
    detector = both[0]
    for wrong in (["cat"], []), (["cat"], ["dog"]):
        with pytest.raises(ValueError, match="image 1: its categories are"):
            detect(detector, images[:2], wrong)
    long = "very " * 20 + "long"
    with pytest.raises(ValueError, match=r"has 2\d tokens, but the detector reads 16"):
        detect(detector, images[:1], [[long]], vocabulary=[long])


def test_a_vocabulary_is_encoded_once(images, asked):
    detector = load_detector("owlv2", MODELS / "owlv2")
    seen = []
    hook = detector.model.owlv2.text_model.register_forward_hook(
        lambda module, inputs, output: seen.append(len(output.pooler_output))
    )
    first = detect(detector, images, asked)
    assert detect(detector, images, asked) == first
    hook.remove()
    assert seen == [len(VOCABULARY)]


def test_fewer_digits_change_scores_a_little(images, asked):
    detector = load_detector("owlv2", MODELS / "owlv2")
    exact = detect(detector, images, asked)
    rounded = detect(detector, images, asked, precision="bfloat16")
    best = [[max(d.score for d in own) for own in found] for found in (exact, rounded)]
    assert best[0] != best[1]
    assert np.allclose(best[0], best[1], atol=0.05)


def test_the_other_architecture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="type 'owlv2', but 'owlvit' is needed"):
        load_detector("owlvit", MODELS / "owlv2")
    with pytest.raises(ValueError, match="type 'owlvit', but 'owlv2' is needed"):
        load_detector("owlv2", write_owlvit(tmp_path))


def test_weights_keep_their_names(both):
    detector, model, _ = both
    assert set(detector.model.state_dict()) == set(model.state_dict())
    layer = detector.model.base_model.vision_model.encoder.layers[0]
    with pytest.raises(ValueError, match="takes no mask"):
        layer.self_attn(torch.zeros(1, 2, layer.embed_dim), output_attentions=True)
