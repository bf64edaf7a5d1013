from weakref import ref

from tasks.kept_models import keep_last, release_models


class Model:
    """A model refers to itself, as modules do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.itself = self


def test_the_last_model_is_kept_until_all_are_released():
    text, image = keep_last(lambda name: Model(name)), keep_last(lambda name: Model(name))
    first = ref(text("clip"))
    assert text("clip") is first()
    second, other = ref(text("flair")), ref(image("sam"))
    assert text("flair") is second()
    assert image("sam") is other()
    release_models()
    assert [first(), second(), other()] == [None, None, None]
    assert text("flair").name == "flair"
