"""--is-embedding: /v1/embeddings through the OpenAI client, and /encode."""
import math

import openai
import pytest

from conftest import Server


@pytest.fixture(scope="module")
def server():
    server = Server("--is-embedding")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="EMPTY", max_retries=0)


def test_embeddings_have_length_one_and_keep_their_order(client):
    texts = ["red apples", "green plums", "red apples"]
    answer = client.embeddings.create(model="m", input=texts, encoding_format="float")
    vectors = [item.embedding for item in answer.data]
    assert [item.index for item in answer.data] == [0, 1, 2] and all(len(v) == 256 for v in vectors)
    assert all(math.isclose(sum(x * x for x in v), 1, rel_tol=1e-5) for v in vectors)
    assert vectors[0] == vectors[2] != vectors[1]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 3


def test_base64_is_the_same(client):
    numbers = client.embeddings.create(model="m", input="red apples", encoding_format="float").data[0].embedding
    packed = client.embeddings.create(model="m", input="red apples").data[0].embedding  # the client's default
    assert packed == pytest.approx(numbers, rel=1e-6)


def test_dimensions_cut_and_rescale(client):
    whole = client.embeddings.create(model="m", input="red apples", encoding_format="float").data[0].embedding
    short = client.embeddings.create(model="m", input="red apples", encoding_format="float", dimensions=16).data[0].embedding
    length = math.sqrt(sum(x * x for x in whole[:16]))
    assert short == pytest.approx([x / length for x in whole[:16]], rel=1e-5)
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="m", input="x", dimensions=257)


def test_encode(server, client):
    text = server.post("/encode", {"text": "red apples"})
    batch = server.post("/encode", {"text": ["green plums", "red apples"], "rid": "e"})
    assert text["embedding"] == batch[1]["embedding"] and [one["meta_info"]["id"] for one in batch] == ["e_0", "e_1"]
    assert text["embedding"] == client.embeddings.create(model="m", input="red apples", encoding_format="float").data[0].embedding


def test_a_long_prompt_in_chunks_and_from_the_cache_is_the_same(server, launch):
    text = " ".join(str(i) for i in range(400))
    first = server.post("/encode", {"text": text})["embedding"]
    again = server.post("/encode", {"text": text})
    assert again["embedding"] == first and again["meta_info"]["cached_tokens"] > 0
    chunked = launch("--is-embedding", "--chunked-prefill-size", 64)
    assert chunked.post("/encode", {"text": text})["embedding"] == first


def test_what_the_server_says_of_itself(server):
    assert server.get("/model_info")["is_generation"] is False


@pytest.mark.parametrize("body, message", [({}, "input: is required"), ({"input": ""}, "Prompt cannot be empty"),
                                           ({"input": []}, "Prompt cannot be empty"),
                                           ({"input": [[2048]]}, "outside [0, 2048)"),
                                           ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
                                           ({"input": [5] * 5000}, "longer than")])
def test_refusals(server, body, message):
    status, text = server.request("POST", "/v1/embeddings", body)
    assert status == 400 and message in text
