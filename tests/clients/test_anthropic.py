"""The Anthropic Python client."""
import anthropic
import pytest


@pytest.fixture(scope="module")
def client(url):
    return anthropic.Anthropic(base_url=url, api_key="EMPTY", max_retries=0)


def ask(question, **more):
    return {"model": "fathom-demo", "max_tokens": 200, "messages": [{"role": "user", "content": question}],
            "extra_body": {"temperature": 0}, **more}


def test_message(client, question):
    message = client.messages.create(**ask(question))
    assert [block.type for block in message.content] == ["text"] and "12" in message.content[0].text
    assert message.role == "assistant" and message.stop_reason == "end_turn" and message.stop_sequence is None
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens > 10 and usage.output_tokens > 5


def test_stream_equals_whole(client, question):
    whole = client.messages.create(**ask(question))
    with client.messages.stream(**ask(question)) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == whole.usage.output_tokens


def test_raw_events_come_in_order(client, question):
    names = [event.type for event in client.messages.create(**ask(question), stream=True)]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}


def test_system_blocks_and_history(client, question):
    message = client.messages.create(**ask(question, system=[{"type": "text", "text": "You are helpful."}], messages=[
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "greet", "signature": "s"},
                                          {"type": "text", "text": "Hello!"}]},
        {"role": "user", "content": [{"type": "text", "text": question, "cache_control": {"type": "ephemeral"}}]}]))
    assert message.content[0].text


def test_stop_sequence(client, question):
    message = client.messages.create(**ask(question, stop_sequences=["12"]))
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == "12" and "12" not in message.content[0].text


def test_max_tokens(client, question):
    message = client.messages.create(**ask(question, max_tokens=3))
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 3


def test_count_tokens_is_what_a_message_uses(client, question):
    counted = client.messages.count_tokens(model="m", messages=[{"role": "user", "content": question}])
    usage = client.messages.create(**ask(question, max_tokens=1)).usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_errors_have_their_classes(client, question):
    with pytest.raises(anthropic.BadRequestError) as error:
        client.messages.create(**ask(question, max_tokens=5000))
    assert error.value.body["error"]["type"] == "invalid_request_error" and "context length" in str(error.value)
    with pytest.raises(anthropic.BadRequestError, match="image"):
        client.messages.create(**ask([{"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}]))
