// JavaScript clients: openai, @ai-sdk/openai-compatible and @anthropic-ai/sdk, against FATHOM_URL.
import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const url = process.env.FATHOM_URL;
const question = "Tom has 5 apples. He buys 7 more apples. How many apples does Tom have now?";
const model = "fathom-demo";

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "EMPTY", maxRetries: 0 });
const chat = { model, temperature: 0, messages: [{ role: "user", content: question }] };

test("openai: models", async () => {
  const ids = [];
  for await (const card of openai.models.list()) ids.push(card.id);
  assert.deepEqual(ids, [model]);
  assert.equal((await openai.models.retrieve(model)).id, model);
  await assert.rejects(openai.models.retrieve("other"), OpenAI.NotFoundError);
});

test("openai: chat, whole and streamed", async () => {
  const whole = await openai.chat.completions.create(chat);
  assert.match(whole.choices[0].message.content, /12/);
  assert.equal(whole.choices[0].finish_reason, "stop");
  let text = "", usage;
  for await (const chunk of await openai.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.total_tokens, whole.usage.total_tokens);
});

test("openai: completions", async () => {
  const answer = await openai.completions.create({ model, prompt: "1 2 3", max_tokens: 4, temperature: 0, logprobs: 1, echo: true });
  assert.ok(answer.choices[0].text.startsWith("1 2 3"));
  assert.equal(answer.choices[0].logprobs.token_logprobs[0], null);
});

test("openai: responses, whole and streamed", async () => {
  const request = { model, input: question, temperature: 0 };
  const whole = await openai.responses.create(request);
  assert.match(whole.output_text, /12/);
  let text = "", last;
  for await (const event of await openai.responses.create({ ...request, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event.type;
  }
  assert.equal(text, whole.output_text);
  assert.equal(last, "response.completed");
});

test("openai: a refused request is a BadRequestError", async () => {
  await assert.rejects(openai.chat.completions.create({ ...chat, max_tokens: 1_000_000 }), OpenAI.BadRequestError);
});

test("ai-sdk: generateText and streamText", async () => {
  const provider = createOpenAICompatible({ name: "fathom", baseURL: `${url}/v1`, apiKey: "EMPTY", includeUsage: true });
  const call = { model: provider(model), prompt: question, temperature: 0, maxRetries: 0 };
  const whole = await generateText(call);
  assert.match(whole.text, /12/);
  assert.equal(whole.finishReason, "stop");
  assert.ok(whole.usage.outputTokens > 0);
  let text = "";
  for await (const piece of streamText(call).textStream) text += piece;
  assert.equal(text, whole.text);
});

test("anthropic: message, whole and streamed", async () => {
  const client = new Anthropic({ baseURL: url, apiKey: "EMPTY", maxRetries: 0 });
  const request = { model, max_tokens: 200, temperature: 0, messages: [{ role: "user", content: question }] };
  const whole = await client.messages.create(request);
  assert.match(whole.content[0].text, /12/);
  const final = await client.messages.stream(request).finalMessage();
  assert.deepEqual(final.content, whole.content);
  assert.equal(final.stop_reason, "end_turn");
});
