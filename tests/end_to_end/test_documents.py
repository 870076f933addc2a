"""What documents say of files holds: those that they name are there."""

import re

import pytest

from tests.end_to_end.examples import DOCUMENTS, ROOT

PAGES = [*DOCUMENTS, "docs/bad-input.md"]


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_the_files_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|md|toml|yaml))`", text))
    places = [ROOT, ROOT / "wsis_jax", ROOT / "wsis_jax" / "output", (ROOT / page).parent]
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_to_files_that_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((?!\w+:|#|generated/|\.\./generated/)([^)#\s]+)", text))
    assert [name for name in sorted(linked) if not ((ROOT / page).parent / name).exists()] == []
