"""Secrets in what others wrote, in whatever form they show them."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.masking import Masking, excerpt, masking_of
from tests.examples import examples

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": lambda secret: repr(secret)[1:-1],
    "ascii": lambda secret: json.dumps(secret)[1:-1],
    "repr of bytes": lambda secret: repr(secret.encode())[2:-1],
    "JSON": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "JSON of PHP": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "in a URL": quote,
    "in a query": lambda secret: quote(secret, safe=""),
    "in a form": quote_plus,
    "in a page": html.escape,
}
secrets = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="*"), min_size=1, max_size=12)
SECRET = "p'1 \"&/ü\\"


@pytest.mark.parametrize("form", FORMS)
def test_an_odd_secret_is_masked_in_every_form(form: str) -> None:
    """What quotes, escapes and percent signs make of a secret is the secret still."""
    assert Masking([SECRET])(f"before {FORMS[form](SECRET)} after") == "before *** after"


@examples(60)
@given(secrets, st.sampled_from(sorted(FORMS)), st.text(max_size=5), st.text(max_size=5))
def test_no_secret_is_left(secret: str, form: str, before: str, after: str) -> None:
    """Whatever the secret, however short, and wherever it stands."""
    shown = FORMS[form](secret)

    assert shown not in Masking([secret])(before + shown + after)


@examples(60)
@given(st.text(max_size=30), st.lists(secrets, max_size=3))
def test_other_words_stay(text: str, some: list[str]) -> None:
    """What holds no secret in any form is left as it is."""
    hidden = [form(secret) for secret in some for form in FORMS.values()]
    assert any(form in text for form in hidden) or Masking(some)(text) == text


def test_the_longer_of_two_goes_first() -> None:
    """Nothing is left of a secret that begins as another one does."""
    assert Masking(["k3y", "k3y-of-the-project"])("k3y-of-the-project, k3y") == "***, ***"


def test_tokens_and_logins_need_no_secret() -> None:
    """Every JWT is masked, whoever made it, and the login in every URL; addresses and hosts stay."""
    token = jwt.encode({"email": "ada@example.com"}, "s" * 32, algorithm="HS256")
    text = f"Bearer {token} for eyJill.smith@example.com via http://me:p@w@proxy:3128/x and https://api.iterable.com"
    assert Masking(["abc"])(f"{text} {token}abc") == (
        "Bearer *** for eyJill.smith@example.com via http://***@proxy:3128/x and https://api.iterable.com ***"
    )


def test_json_is_masked_in_its_values() -> None:
    """Texts at any depth; names, numbers and what is not a text stay."""
    value = {"key": "a k3y", "k3y": [{"x": ["k3y", 3, None, True]}]}
    assert Masking(["k3y"]).of_json(value) == {"key": "a ***", "k3y": [{"x": ["***", 3, None, True]}]}


def test_nothing_to_mask() -> None:
    """An empty secret, or none, masks nothing, and no `repr` shows what is masked."""
    assert masking_of(("", None))("any text") == "any text"
    assert "k3y" not in repr(masking_of(("k3y",)))


def test_a_page_is_called_one() -> None:
    """HTML says so and how long it is; what only begins like it stays as it is, on one line."""
    page = "<!DOCTYPE html>\n<HTML><body>Bad gateway</body></HTML>"
    assert excerpt(page) == f"an HTML page of {len(page)} characters: {' '.join(page.split())}"
    assert excerpt("<none>  of it\n") == "<none> of it"
