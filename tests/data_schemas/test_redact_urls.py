"""Secrets in URLs, and what is left of them."""

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
        ("https://h.org/it's.jpg?token=SECRET!", "https://h.org/it's.jpg?token=***"),
        (
            "cannot reach postgresql+asyncpg://prefect:SECRET@db:5432/prefect, gave up",
            "cannot reach postgresql+asyncpg://***@db:5432/prefect, gave up",
        ),
        ("404, url='https://u:SECRET@h/a?b=SECRET' (x)", "404, url='https://***@h/a?b=***' (x)"),
        ("https://me:SECRET@h.org/@SECRET2", "https://***@h.org/@SECRET2"),
        ("a plain text: 7/8 ?x=1", "a plain text: 7/8 ?x=1"),
    ],
)
def test_secrets_become_stars(text, expected):
    assert redact_urls(text) == expected
    assert redact_urls(expected) == expected


def test_rejections_lose_them_wherever_they_are_made():
    detail = "line 3: https://u:SECRET@h.org/a.jpg?sig=SECRET was not copied"
    rejection = Rejection(key="a", stage="select", reason=RejectionReason.ID_TAKEN, detail=detail)
    assert "SECRET" not in rejection.model_dump_json()
    assert "https://***@h.org/a.jpg" in rejection.detail
