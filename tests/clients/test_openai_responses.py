"""The OpenAI Python client's Responses API, embeddings excepted (tests/e2e/test_embeddings.py)."""
import openai
import pytest


@pytest.fixture(scope="module")
def client(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="EMPTY", max_retries=0)


def ask(question, **more):
    return {"model": "fathom-demo", "input": question, "temperature": 0, **more}


def test_response(client, question):
    response = client.responses.create(**ask(question, metadata={"a": "b"}))
    assert "12" in response.output_text and response.status == "completed" and response.metadata == {"a": "b"}
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.id.startswith("resp_") and response.output[0].id.startswith("msg_")


def test_items_and_instructions(client, question):
    response = client.responses.create(**ask([
        {"role": "user", "content": "Hello"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello!"}]},
        {"role": "user", "content": [{"type": "input_text", "text": question}]}], instructions="Be brief."))
    assert response.output_text and response.instructions == "Be brief."


def test_stream_equals_whole(client, question):
    whole = client.responses.create(**ask(question))
    events = list(client.responses.create(**ask(question), stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == ["response.created", "response.in_progress", "response.output_item.added",
                                                    "response.content_part.added"]
    assert [event.type for event in events[-4:]] == ["response.output_text.done", "response.content_part.done",
                                                     "response.output_item.done", "response.completed"]
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == whole.output_text == events[-1].response.output_text
    assert events[-1].response.usage.output_tokens == whole.usage.output_tokens


def test_logprobs_of_the_text(client, question):
    wanted = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    assert client.responses.create(**ask(question)).output[0].content[0].logprobs == []
    part = client.responses.create(**ask(question, **wanted)).output[0].content[0]
    assert "".join(entry.token for entry in part.logprobs[:-1]) == part.text  # the last one ended it
    for entry in part.logprobs:
        assert len(entry.top_logprobs) == 2 and entry.logprob == entry.top_logprobs[0].logprob
    events = list(client.responses.create(**ask(question, **wanted), stream=True))
    streamed = [entry for event in events if event.type == "response.output_text.delta" for entry in event.logprobs]
    assert [(e.token, e.logprob) for e in streamed] == [(e.token, e.logprob) for e in part.logprobs[:len(streamed)]]
    assert len(streamed) >= len(part.logprobs) - 1
    done = next(event for event in events if event.type == "response.output_text.done")
    assert [e.token for e in done.logprobs] == [e.token for e in part.logprobs]


def test_stream_helper(client, question):
    with client.responses.stream(**ask(question)) as stream:
        for _ in stream:
            pass
        assert "12" in stream.get_final_response().output_text


def test_cut_answers_are_incomplete(client, question):
    response = client.responses.create(**ask(question, max_output_tokens=3))
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"


def test_nothing_is_stored(client, question):
    response = client.responses.create(**ask(question, store=True, max_output_tokens=1))
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel(response.id)
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(**ask(question, previous_response_id=response.id))
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.create(**ask(question, background=True))
