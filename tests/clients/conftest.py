"""Tests of unmodified clients against a running server, whose address is in FATHOM_URL. They run in
build/venv-clients; tests/e2e/test_clients.py starts the server and them."""
import os

import pytest

QUESTION = "Tom has 5 apples. He buys 7 more apples. How many apples does Tom have now?"


@pytest.fixture(scope="session")
def url():
    return os.environ["FATHOM_URL"]


@pytest.fixture(scope="session")
def question():
    return QUESTION
