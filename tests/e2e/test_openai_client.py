"""The OpenAI Python client, unmodified."""
import openai
import pytest

QUESTION = [{"role": "user", "content": "Tom has 5 apples. He buys 7 more apples. How many apples does Tom have now?"}]


@pytest.fixture(scope="module")
def client(demo):
    return openai.OpenAI(base_url=demo.url + "/v1", api_key="EMPTY")


def test_models(client):
    assert [model.id for model in client.models.list()] == ["fathom-demo"]


def test_chat_answers_correctly(client):
    answer = client.chat.completions.create(model="default", messages=QUESTION, temperature=0)
    choice = answer.choices[0]
    assert choice.finish_reason == "stop" and "12" in choice.message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream_equals_whole(client):
    whole = client.chat.completions.create(model="default", messages=QUESTION, temperature=0)
    stream = client.chat.completions.create(model="default", messages=QUESTION, temperature=0, stream=True,
                                            stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]


def test_no_empty_choices_without_usage(client):
    stream = client.chat.completions.create(model="default", messages=QUESTION, temperature=0, stream=True, max_tokens=5)
    assert all(chunk.choices for chunk in stream)


def test_logprobs(client):
    answer = client.chat.completions.create(model="default", messages=QUESTION, temperature=0, logprobs=True,
                                            top_logprobs=3, max_tokens=8)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for entry in content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == entry.top_logprobs[0].logprob  # greedy: the best one was taken
        assert bytes(entry.bytes).decode(errors="replace") == entry.token


def test_n_2(client):
    answer = client.chat.completions.create(model="default", messages=QUESTION, n=2, temperature=1.0, seed=3, max_tokens=24)
    assert [choice.index for choice in answer.choices] == [0, 1]
    again = client.chat.completions.create(model="default", messages=QUESTION, n=2, temperature=1.0, seed=3, max_tokens=24)
    assert [c.message.content for c in answer.choices] == [c.message.content for c in again.choices]


def test_stop_strings(client):
    answer = client.chat.completions.create(model="default", messages=QUESTION, temperature=0)
    text = answer.choices[0].message.content
    stop = text[5:9]
    cut = client.chat.completions.create(model="default", messages=QUESTION, temperature=0, stop=[stop, "never seen"])
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    streamed = client.chat.completions.create(model="default", messages=QUESTION, temperature=0, stop=[stop], stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed if c.choices) == text[: text.index(stop)]


def test_completions_echo_logprobs(client):
    answer = client.completions.create(model="default", prompt="Question: 2+2?\nAnswer:", temperature=0, max_tokens=4,
                                       echo=True, logprobs=2)
    choice = answer.choices[0]
    assert choice.text.startswith("Question: 2+2?\nAnswer:")
    lists = choice.logprobs
    assert len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs)
    assert len(lists.tokens) == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert lists.token_logprobs[0] is None
    # Greedy: the chosen token's value is the same double as the best of the top list.
    for value, top in zip(lists.token_logprobs[answer.usage.prompt_tokens:], lists.top_logprobs[answer.usage.prompt_tokens:]):
        assert value == max(top.values())


def test_completions_batch_and_stream(client):
    answer = client.completions.create(model="default", prompt=["Question: 1+1?\nAnswer:", "Question: 3+4?\nAnswer:"],
                                       temperature=0, max_tokens=6, n=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    stream = client.completions.create(model="default", prompt="Question: 1+1?\nAnswer:", temperature=0, max_tokens=6, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text


def test_errors_are_typed(client):
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model="default", messages=QUESTION, temperature=-1)
    with pytest.raises(openai.BadRequestError, match="context length"):
        client.completions.create(model="default", prompt=[5] * 5000, max_tokens=1)
