"""launch_server with a hub id: downloads from a stand-in hub on the loopback (tests/hub/hub_stub.py)."""
import subprocess
import sys

import pytest
from conftest import DEMO, ROOT, run_fathom


@pytest.fixture
def hub(tmp_path):
    """The environment of a machine with this hub and an empty cache."""
    stub = subprocess.Popen([sys.executable, ROOT / "tests" / "hub" / "hub_stub.py", DEMO],
                            stdout=subprocess.PIPE, text=True)
    port = int(stub.stdout.readline())
    absent = ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"]  # and proxies: they cannot reach the loopback
    for low in ("http_proxy", "https_proxy", "all_proxy"):
        absent += [low, low.upper()]
    yield Hub(stub, {**dict.fromkeys(absent), "HF_ENDPOINT": f"http://127.0.0.1:{port}",
                     "HF_HOME": str(tmp_path / "hf")})
    stub.kill()
    stub.wait()


class Hub:
    def __init__(self, process, environment):
        self.process = process
        self.environment = environment


def refusal(hub, *flags, **changes):
    code, text = run_fathom("launch_server", "--port", 0, *flags, env={**hub.environment, **changes})
    assert code == 1, text
    assert "Traceback" not in text and "panicked" not in text, text
    return text


def test_a_model_is_downloaded_once_and_served_offline(hub, launch):
    flags = ("--model-path", "org/model")
    first = launch(*flags, env=hub.environment)
    answer = first.generate(text="Hello", sampling_params={"max_new_tokens": 8, "temperature": 0})
    assert answer["meta_info"]["completion_tokens"] > 0
    assert first.get("/get_model_info")["model_path"] == "org/model"
    first.stop()
    hub.process.kill()  # what is cached needs no hub
    hub.process.wait()
    again = launch(*flags, env={**hub.environment, "HF_HUB_OFFLINE": "1"})
    assert again.generate(text="Hello", sampling_params={"max_new_tokens": 8, "temperature": 0})["text"] == answer["text"]


def test_random_weights_and_a_tokenizer_are_served_without_downloading_weights(hub, launch, tmp_path):
    flags = ("--model-path", "org/sharded", "--load-format", "dummy", "--tokenizer-path", "org/tokenizer")
    server = launch(*flags, env=hub.environment)
    server.generate(text="Hello", sampling_params={"max_new_tokens": 1})
    server.stop()
    assert list(tmp_path.rglob("tokenizer.json")), "downloaded"
    assert not list(tmp_path.rglob("*.safetensors"))
    text = refusal(hub, "--model-path", "org/sharded", HF_HUB_OFFLINE="1")
    assert "lacks model.safetensors" in text, text


@pytest.mark.parametrize("empty", [["http_proxy"], ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"]], ids=["one", "all"])
def test_an_empty_proxy_is_none(hub, launch, empty):
    launch("--model-path", "org/model", env={**hub.environment, **dict.fromkeys(empty, "")})


def test_a_revision_is_served(hub, launch, tmp_path):
    lengths = []
    for flags in ((), ("--revision", "v2", "--download-dir", tmp_path / "elsewhere")):
        server = launch("--model-path", "org/model", *flags, env=hub.environment)
        lengths.append(server.get("/get_model_info")["max_context_len"])
        server.stop()
    assert lengths[1] * 2 == lengths[0]
    assert (tmp_path / "elsewhere").is_dir()
    text = refusal(hub, "--model-path", "org/model", "--revision", "v9")
    assert "org/model" in text and "--revision" in text, text


def test_a_gated_model_wants_the_token(hub, launch):
    text = refusal(hub, "--model-path", "org/gated")
    assert "401" in text and "HF_TOKEN" in text, text
    assert "401" in refusal(hub, "--model-path", "org/gated", HF_TOKEN="wrong")
    server = launch("--model-path", "org/gated", env={**hub.environment, "HF_TOKEN": "secret"})
    server.generate(input_ids=[5], sampling_params={"max_new_tokens": 1})


def test_a_model_that_is_nowhere_is_named(hub):
    text = refusal(hub, "--model-path", "org/absent")
    assert "org/absent" in text and "--revision" in text, text
    text = refusal(hub, "--model-path", "org/model", HF_HUB_OFFLINE="1")
    assert "Model 'org/model' was not found locally" in text, text
    text = refusal(hub, "--model-path", "org/model", HF_ENDPOINT="http://127.0.0.1:9")
    assert "org/model" in text and "127.0.0.1:9" in text, text


def test_an_interrupted_download_goes_on_with_the_next_start(hub, launch):
    assert "cannot download model.safetensors of model 'org/broken'" in refusal(hub, "--model-path", "org/broken")
    server = launch("--model-path", "org/broken", env=hub.environment)
    server.generate(input_ids=[5], sampling_params={"max_new_tokens": 1})
