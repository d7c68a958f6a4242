// The AI SDK of Vercel with its providers for OpenAI-compatible servers, OpenAI and Anthropic.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const baseURL = `${process.env.GATEWAY}/v1`;
const compatible = createOpenAICompatible({ name: "r2-router", baseURL, apiKey: "any", includeUsage: true });
const openai = createOpenAI({ baseURL, apiKey: "any" });
const anthropic = createAnthropic({ baseURL, apiKey: "any" });

for (const model of [compatible("auto"), openai("auto"), openai.chat("auto"), anthropic("auto")]) {
  const prompt = "Who wrote Faust?";
  const answer = await generateText({ model, prompt, maxRetries: 0 });
  assert.equal(answer.text, process.env.ANSWER, model.provider);
  assert.equal(answer.usage.outputTokens, 7, model.provider);
  const stream = streamText({ model, prompt, maxRetries: 0 });
  assert.equal(await stream.text, process.env.ANSWER, model.provider);
  assert.equal((await stream.usage).outputTokens, 7, model.provider);
}
