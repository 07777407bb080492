"""The smg gateway in front of the server: OpenAI and Anthropic clients through it."""
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import anthropic
import openai
import pytest


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def gateway(url, tmp_path_factory):
    port = free_port()
    log = open(tmp_path_factory.mktemp("smg") / "log", "w+")
    process = subprocess.Popen(
        [pathlib.Path(sys.executable).parent / "smg", "launch", "--host", "127.0.0.1", "--port", str(port), "--worker-urls", url,
         "--prometheus-port", str(free_port()), "--policy", "round_robin", "--disable-tokenizer-autoload"],
        stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ), start_new_session=True)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=30)


def eventually(call, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except openai.APIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_chat_whole_and_streamed(gateway, question):
    client = openai.OpenAI(base_url=gateway + "/v1", api_key="EMPTY", max_retries=0)
    call = {"model": "fathom-demo", "messages": [{"role": "user", "content": question}], "temperature": 0}
    whole = eventually(lambda: client.chat.completions.create(**call))
    assert "12" in whole.choices[0].message.content
    text = "".join(chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**call, stream=True))
    assert text == whole.choices[0].message.content


def test_completions(gateway):
    client = openai.OpenAI(base_url=gateway + "/v1", api_key="EMPTY", max_retries=0)
    answer = eventually(lambda: client.completions.create(model="fathom-demo", prompt="1 2 3", max_tokens=4, temperature=0))
    assert answer.choices[0].text


def test_messages(gateway, question):
    client = anthropic.Anthropic(base_url=gateway, api_key="EMPTY", max_retries=2)
    message = client.messages.create(model="fathom-demo", max_tokens=200, messages=[{"role": "user", "content": question}],
                                     extra_body={"temperature": 0})
    assert "12" in message.content[0].text
