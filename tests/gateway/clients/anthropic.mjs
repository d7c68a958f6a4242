// The SDK of Anthropic for Node.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.env.GATEWAY, apiKey: "any", maxRetries: 0 });
const request = { model: "auto", max_tokens: 4000, messages: [{ role: "user", content: "Who wrote Faust?" }] };

const answer = await client.messages.create(request);
assert.equal(answer.content[0].text, process.env.ANSWER);
const stream = client.messages.stream(request);
assert.equal(await stream.finalText(), process.env.ANSWER);
assert.equal((await stream.finalMessage()).usage.output_tokens, 7);
assert.ok((await client.messages.countTokens(request)).input_tokens > 0);
assert.equal((await client.models.retrieve("claude/auto")).id, "claude/auto");
await assert.rejects(client.models.retrieve("gtp-99"), Anthropic.NotFoundError);
await assert.rejects(client.messages.create({ ...request, model: "gtp-99" }), Anthropic.NotFoundError);
