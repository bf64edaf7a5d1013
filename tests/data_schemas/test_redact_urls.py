"""Secrets in URLs, and what is left of them."""

import time
import timeit

import pytest

from data_schemas.redact_urls import redact_urls
from data_schemas.rejections import Rejection, RejectionReason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h.org/a@2x.jpg", "https://h.org/a@2x.jpg"),
        ("https://me:SECRET@h.org/a.jpg", "https://***@h.org/a.jpg"),
        ("https://SECRET@h.org", "https://***@h.org"),
        ("s3://key:SECRET@bucket/a", "s3://***@bucket/a"),
        ("https://h.org/a.jpg?id=7", "https://h.org/a.jpg?id=***"),
        (
            "https://h.org/a.jpg?X-Amz-Signature=SECRET&x=SECRET#SECRET",
            "https://h.org/a.jpg?X-Amz-Signature=***&x=***#***",
        ),
        ("https://h.org/a.jpg?SECRET", "https://h.org/a.jpg?***"),
        ("https://h.org/a.jpg?SECRET=", "https://h.org/a.jpg?***"),
        ("https://h.org/a b.jpg?token=SECRET", "https://h.org/a b.jpg?token=***"),
        ("https://h.org/a;jsessionid=SECRET?x=1", "https://h.org/a;jsessionid=***"),
        ("https://h.org/it's.jpg?token=SECRET!", "https://h.org/it's.jpg?token=***"),
        (
            "cannot reach postgresql+asyncpg://prefect:SECRET@db:5432/prefect, gave up",
            "cannot reach postgresql+asyncpg://***@db:5432/prefect, gave up",
        ),
        ("404, url='https://u:SECRET@h/a?b=SECRET' (x)", "404, url='https://***@h/a?b=***' (x)"),
        ("https://SECRET@h.org/@name", "https://***@h.org/@name"),
        ("https://me:SECRET@h.org/@name", "https://***@name"),
        ("s3://AKIAEXAMPLE:SEC/RET/K7MD@bucket/a.jpg", "s3://***@bucket/a.jpg"),
        ("https://me:SEC/RET@h.org/a.jpg?a=SECRET", "https://***@h.org/a.jpg?a=***"),
        ("https://me:SEC'RET\"@h.org/a.jpg", "https://***@h.org/a.jpg"),
        ("https://SEC'RET@h.org/a.jpg", "https://***@h.org/a.jpg"),
        ("https://me:SEC#RET@h.org/a.jpg", "https://***"),
        ("https://me:SEC@RE@T@h.org", "https://***@h.org"),
        ("http://h.org:8080/a.jpg?from=SEC@RET", "http://h.org:8080/a.jpg?from=***"),
        ("https://proxy.org/https://me:SECRET@h.org/a", "https://proxy.org/https://***@h.org/a"),
        ('["https://h.org/a","https://me:SECRET@h/b"]', '["https://h.org/a","https://***@h/b"]'),
        ("my-token=SECRET-token=SECRET x_secret_y=SECRET", "my-token=*** x_secret_y=***"),
        ("a plain text: 7/8 ?x=1", "a plain text: 7/8 ?x=1"),
    ],
)
def test_secrets_become_stars(text, expected):
    assert redact_urls(text) == expected
    assert redact_urls(expected) == expected


# Texts that a pattern with a way back reads again and again from each of their places.
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "token-",
        "://",
        "://'",
        "://a:",
        "://a:b/@'",
        "://a?b#",
        "://a?b=c&",
        "a@",
        "=-",
        "https://me:pa/ss",
        "api-key",
    ],
)
def test_time_grows_as_the_text_does(piece):
    def seconds(length):
        text = (piece * length)[:length]
        timer = timeit.Timer(lambda: redact_urls(text), timer=time.thread_time)
        return min(timer.repeat(repeat=5, number=1))

    # Sixteen times the text: 16 is as long, 256 is the square of it.
    assert seconds(4800) < 80 * max(seconds(300), 1e-5)


def test_long_details_are_cut_before_anything_reads_them():
    def detail_of(text):
        reason = RejectionReason.NO_NOUN
        return Rejection(key="a", stage="parse", reason=reason, detail=text).detail

    caption = "A cat on a chair. " * 10
    assert detail_of(caption) == caption
    for piece in ("A cat. ", "x", "http://a@b ", "http://a.org/?a=b&c=d "):
        cut = detail_of(piece * 5000)
        assert cut.startswith(redact_urls(piece * 5))
        assert len(cut) <= 2000
        assert cut.endswith(" … (cut)")
        assert detail_of(cut) == cut  # as when it is read from a table


@pytest.mark.parametrize("before", range(1950, 2010, 3))
def test_cut_through_a_url_shows_no_part_of_its_secrets(before):
    text = f"{'x ' * (before // 2)}s3://me:{'S3CRET/' * 3}@h/a.jpg?token={'S3CRET' * 9} {'x' * 99}"
    rejection = Rejection(key="a", stage="x", reason=RejectionReason.NO_NOUN, detail=text)
    assert "S3" not in rejection.detail


def test_rejections_lose_them_wherever_they_are_made():
    detail = "line 3: https://u:SECRET@h.org/a.jpg?sig=SECRET was not copied"
    rejection = Rejection(key="a", stage="select", reason=RejectionReason.ID_TAKEN, detail=detail)
    assert "SECRET" not in rejection.model_dump_json()
    assert "https://***@h.org/a.jpg" in rejection.detail
