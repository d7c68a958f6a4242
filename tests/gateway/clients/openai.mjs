// openai-node: chat completions and responses, streaming and not, and what an error becomes.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.GATEWAY}/v1`, apiKey: "any", maxRetries: 0 });
const request = { model: "auto", messages: [{ role: "user", content: "Who wrote Faust?" }] };

const { data, response } = await client.chat.completions.create(request).withResponse();
assert.equal(data.choices[0].message.content, process.env.ANSWER);
assert.equal(data.model, response.headers.get("x-r2-model"));

let text = "";
let usage;
const options = { include_usage: true };
for await (const chunk of await client.chat.completions.create({ ...request, stream: true, stream_options: options })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage ??= chunk.usage;
}
assert.equal(text, process.env.ANSWER);
assert.equal(usage.completion_tokens, 7);

const answer = await client.responses.create({ model: "auto", input: "Who wrote Faust?" });
assert.equal(answer.output_text, process.env.ANSWER);
const types = [];
for await (const event of await client.responses.create({ model: "auto", input: "Who wrote Faust?", stream: true })) {
  types.push(event.type);
}
assert.equal(types.at(-1), "response.completed");

await assert.rejects(client.chat.completions.create({ ...request, model: "gtp-99" }), OpenAI.NotFoundError);
const limited = client.chat.completions.create({ ...request, r2: { max_cost_usd: 1e-9 } });
await assert.rejects(limited, /max_cost|no pair/);
assert.ok((await client.models.list()).data.some(({ id }) => id === "auto"));
assert.equal((await client.models.retrieve("auto")).id, "auto");
assert.equal((await client.models.retrieve("openai/gpt-5.4")).id, "gpt-5.4");
