"""langchain-openai: chat and completions, whole and streamed."""
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI


def chat(url, **more):
    return ChatOpenAI(base_url=url + "/v1", api_key="EMPTY", model="fathom-demo", temperature=0, max_retries=0, **more)


def test_invoke(url, question):
    answer = chat(url).invoke([SystemMessage("You are helpful."), HumanMessage("Hello"), AIMessage("Hello!"),
                               HumanMessage(question)])
    assert answer.content and answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] == answer.usage_metadata["input_tokens"] + answer.usage_metadata["output_tokens"]


def test_stream_equals_whole(url, question):
    whole = chat(url).invoke(question)
    assert "12" in whole.content
    chunks = list(chat(url, stream_usage=True).stream(question))
    assert "".join(chunk.content for chunk in chunks) == whole.content


def test_responses_api(url, question):
    answer = chat(url, use_responses_api=True).invoke(question)
    assert "12" in answer.text


def test_completions(url):
    model = OpenAI(base_url=url + "/v1", api_key="EMPTY", model="fathom-demo", temperature=0, max_tokens=8, max_retries=0)
    whole = model.invoke("1 2 3")
    assert whole and "".join(model.stream("1 2 3")) == whole
