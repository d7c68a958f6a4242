// The page of the gateway. It uses the same paths and keys as other clients. It stores only the
// key, in this tab's session. Content from servers is inserted as text, never as HTML.
import { Chart, describe, pairOf } from "/chart.js";
import { budget, budgetText, count, number, percent, usd } from "/format.js";

const $ = (id) => document.getElementById(id);
const KEY = "r2-router-key";

// The settings that have a slider; names, help, units and ranges are those of the schema of policies.
const SLIDERS = ["willingness_to_pay", "max_cost_usd", "min_quality", "quality_fraction", "max_output_tokens", "risk_aversion"];
// The range of a slider whose setting has none, by the setting's unit. Amounts and counts are logarithmic.
const RANGES = {
  USD: { least: 1e-6, most: 10, logarithmic: true },
  tokens: { least: 16, most: 131072, logarithmic: true },
  "standard deviations": { least: 0, most: 4 },
  "": { least: 0, most: 1 },
};
const STEPS = 100;

const chart = new Chart($("chart"), $("readout"));
const limits = []; // of class Limit
let options = []; // every pair for the prompt, without limits
let optionsOf = ""; // the prompt and policy that they belong to
let sending = null; // AbortController of the answer that is streamed

// ---- Requests

async function call(path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The gateway cannot be reached.");
  }
  if (response.ok) return response;
  if (response.status === 401) showKeyForm();
  if (response.status === 401 && !key) throw new Error("A key is required.");
  const text = await response.text();
  throw new Error(errorIn(text) ?? `The gateway has answered with status ${response.status}.`);
}

// The message in the body of an error; undefined if it has none.
function errorIn(text) {
  try {
    const { error } = JSON.parse(text);
    return typeof error === "string" ? error : error?.message;
  } catch {
    return undefined;
  }
}

// Returns a function that runs the task, and runs it again if it was called in the meantime: one
// request at a time, and the last one with the latest values.
function coalesced(task) {
  let running = false;
  let again = false;
  return async () => {
    again = true;
    if (running) return;
    running = true;
    try {
      while (again) {
        again = false;
        await task();
      }
    } finally {
      running = false;
    }
  };
}

function showError(error) {
  $("error").textContent = error?.message ?? "";
  $("error").hidden = !error;
}

function row(cells, style = "") {
  const made = document.createElement("tr");
  made.className = style;
  for (const text of cells) made.insertCell().textContent = text;
  return made;
}

// ---- The key

function showKeyForm() {
  sessionStorage.removeItem(KEY);
  $("key-form").hidden = false;
  $("key-state").hidden = true;
}

function useKey(event) {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  $("key-form").hidden = true;
  $("key-state").hidden = false;
  refresh();
}

// ---- Limits

// A slider. One of its ends means "not set": the left end, or the right end for a maximum.
class Limit {
  constructor(name, schema) {
    this.name = name;
    const [, help, unit = ""] = schema.description.match(/^(.*?)(?: Unit: (.*)\.)?$/s);
    this.unit = unit;
    const range = RANGES[unit] ?? RANGES[""];
    this.range = { ...range, least: schema.minimum ?? range.least, most: schema.maximum ?? range.most };
    if (range.logarithmic) this.range = range;
    this.isMaximum = name.startsWith("max_");

    this.input = document.createElement("input");
    Object.assign(this.input, { type: "range", id: name, min: 0, max: STEPS, step: 1 });
    this.output = document.createElement("output");
    this.output.htmlFor = name;
    const label = document.createElement("label");
    label.htmlFor = name;
    label.append(name.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase()).replace(/ usd$/, ""), this.output);
    const text = document.createElement("p");
    text.className = "quiet";
    text.id = `${name}-help`;
    text.textContent = help;
    this.input.setAttribute("aria-describedby", text.id);
    this.field = document.createElement("div");
    this.field.className = "limit";
    this.field.append(label, this.input, text);
    this.input.addEventListener("input", () => {
      this.update();
      decide();
    });
    this.reset();
  }

  reset() {
    this.input.value = this.isMaximum ? STEPS : 0;
    this.update();
  }

  // The setting's value, or null.
  get value() {
    const position = Number(this.input.value);
    if (position === (this.isMaximum ? STEPS : 0)) return null;
    const { least, most, logarithmic } = this.range;
    if (!logarithmic) return Number((least + (position / STEPS) * (most - least)).toFixed(4));
    const value = Number((least * (most / least) ** (position / STEPS)).toPrecision(2));
    return this.unit === "tokens" ? Math.round(value) : value;
  }

  update() {
    const value = this.value;
    const shown =
      value === null ? "as configured"
      : this.unit === "USD" ? usd(value)
      : this.unit !== "" ? `${number(value)} ${this.unit}`
      : percent(value);
    this.output.textContent = shown;
    this.input.setAttribute("aria-valuetext", shown);
    this.field.classList.toggle("set", value !== null);
  }
}

const settings = () =>
  Object.fromEntries(limits.filter(({ value }) => value !== null).map(({ name, value }) => [name, value]));

async function showLimits() {
  const schema = await (await call("/policy.schema.json")).json();
  for (const name of SLIDERS) limits.push(new Limit(name, schema.properties[name]));
  $("limits").replaceChildren(...limits.map(({ field }) => field));
}

// ---- The choice

const decide = coalesced(async () => {
  const query = { query: $("prompt").value };
  if ($("policy").value) query.policy = $("policy").value;
  const isEmpty = query.query.trim() === "";
  $("send").disabled = isEmpty || sending !== null;
  if (isEmpty) return showNothing();
  const queries = [{ ...query, ...settings(), explain: true, all_options: true }];
  // All pairs, requested once for each prompt. Pairs that the limits exclude are also shown.
  const label = JSON.stringify(query);
  if (label !== optionsOf) queries.push({ ...query, all_options: true });
  try {
    const [decision, unlimited] = await (await call("/v1/decisions", { body: queries })).json();
    if (unlimited) {
      options = unlimited.all_options ?? [];
      optionsOf = label;
    }
    showDecision(decision);
    showError(decision.error ? new Error(decision.error) : null);
  } catch (error) {
    showError(error);
  }
});

function showNothing() {
  optionsOf = "";
  $("choice").replaceChildren();
  $("choice-empty").hidden = false;
  $("chart-section").hidden = true;
  showError(null);
}

function showDecision(decision) {
  const allowed = decision.all_options ?? [];
  const chosen = decision.error ? null : decision;
  $("choice-empty").hidden = true;
  $("chart-section").hidden = options.length === 0;
  chart.show(options, new Set(allowed.map(pairOf)), chosen, chosen?.explanation.runner_up);
  $("options-title").textContent = `All ${count(allowed.length)} options that meet the limits, best first`;
  $("options").replaceChildren(
    ...allowed.map((option) =>
      row(
        [
          option.model,
          budget(option),
          percent(option.predicted_quality),
          usd(option.predicted_cost_usd),
          usd(option.worst_case_cost_usd),
          count(option.max_tokens),
        ],
        chosen && pairOf(option) === pairOf(chosen) ? "chosen" : "",
      ),
    ),
  );
  $("choice").replaceChildren(
    ...facts(decision).flatMap(([name, value]) => {
      const term = document.createElement("dt");
      term.textContent = name;
      const detail = document.createElement("dd");
      detail.textContent = value;
      if (name === "Model") detail.className = "main";
      return [term, detail];
    }),
  );
}

function facts(decision) {
  if (decision.error) return [["Model", "none"]];
  const { explanation } = decision;
  const share = ([task, part]) => `${task.replaceAll("_", " ")} ${percent(part)}`;
  const tasks = Object.entries(explanation.tasks).map(share);
  const leftOut = Object.entries(explanation.left_out).filter(([, left]) => left > 0);
  const list = [
    ["Model", decision.model],
    ["Budget", budget(decision)],
    ["Cap", `${count(decision.max_tokens)} tokens`],
    ["Predicted quality", percent(decision.predicted_quality)],
    ["Predicted cost", usd(decision.predicted_cost_usd)],
    ["Worst case", usd(decision.worst_case_cost_usd)],
  ];
  if (explanation.reason === "quality_missed") list.push(["Note", "No option has the quality that was asked for."]);
  if (tasks.length > 0) list.push(["Tasks", tasks.join(", ")]);
  if (explanation.runner_up) list.push(["Runner-up", describe(explanation.runner_up)]);
  if (explanation.win_probability !== null) {
    list.push(["Better than that", `with a chance of ${percent(explanation.win_probability)}`]);
  }
  if (leftOut.length > 0) {
    const reason = ([name, left]) => `${count(left)} by ${name.replaceAll("_", " ")}`;
    list.push(["Left out", leftOut.map(reason).join(", ")]);
  }
  return list;
}

// ---- The answer

// The lines of a stream of events.
async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines;
  }
}

async function send() {
  const policy = $("policy").value;
  sending = new AbortController();
  const begin = performance.now();
  $("stop").hidden = false;
  if (document.activeElement === $("send")) $("stop").focus();
  $("send").disabled = true;
  $("answer-section").hidden = false;
  $("answer").textContent = "";
  $("answer-facts").textContent = "Waiting for the answer…";
  showError(null);
  const facts = [];
  try {
    const response = await call("/v1/chat/completions", {
      body: {
        model: policy ? `auto:${policy}` : "auto",
        messages: [{ role: "user", content: $("prompt").value }],
        stream: true,
        stream_options: { include_usage: true },
        r2: settings(),
      },
      signal: sending.signal,
    });
    const { headers } = response;
    const tokens = headers.get("x-r2-budget");
    facts.push(headers.get("x-r2-model"), budgetText({ budget: tokens === "unlimited" ? tokens : Number(tokens) }));
    $("answer-facts").textContent = `Answered by ${facts.join(", ")}…`;
    for await (const line of linesOf(response)) {
      const [, cost] = line.match(/^: x-r2-cost-usd (\S+)/) ?? [];
      if (cost) facts.push(usd(Number(cost)));
      if (!line.startsWith("data: {")) continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message ?? "The answer has broken off.");
      const text = event.choices?.[0]?.delta?.content;
      if (text) $("answer").append(text);
      if (event.choices?.[0]?.finish_reason === "length") facts.push("ended by its cap");
      if (event.usage) facts.push(`${count(event.usage.prompt_tokens)} tokens in, ${count(event.usage.completion_tokens)} out`);
    }
  } catch (error) {
    if (error.name === "AbortError") facts.push("stopped");
    else {
      facts.push("not complete");
      showError(error);
    }
  }
  facts.push(`${number((performance.now() - begin) / 1000)} s`);
  $("answer-facts").textContent = facts.join(" · ");
  sending = null;
  $("send").disabled = $("prompt").value.trim() === "";
  if (document.activeElement === $("stop")) $("send").focus();
  $("stop").hidden = true;
  await showSpending().catch(showError);
}

// ---- Today's spending, the gateway's condition and its policies

async function showSpending() {
  const today = new Date().toISOString().slice(0, 10); // days are in UTC
  const report = await (await call(`/v1/spend?from=${today}&to=${today}&by=key,model`)).json();
  const cells = (key, model, spend) => [
    key,
    model ?? "unknown",
    count(spend.requests),
    count(spend.input_tokens),
    count(spend.output_tokens),
    usd(spend.settled_usd) + (spend.unsettled_usd > 0 ? ` to ${usd(spend.settled_usd + spend.unsettled_usd)}` : ""),
    spend.saved_usd === undefined ? "" : usd(spend.saved_usd),
  ];
  const rows = report.rows.map((spend) => row(cells(spend.key || "none", spend.model, spend)));
  $("spend").replaceChildren(...rows, row(cells("Total", "", report.total), "total"));
  $("spend-empty").hidden = rows.length > 0;
  $("spend-table").hidden = rows.length === 0;
}

async function showProblem() {
  const { chat_problem: chat, ledger_problem: ledger } = await (await call("/health/ready")).json();
  const problems = [];
  if (chat) problems.push(`Prompts are routed, but cannot be sent: ${chat}.`);
  if (ledger) problems.push(`The ledger cannot be used: ${ledger}.`);
  $("problem").textContent = problems.join(" ");
  $("problem").hidden = problems.length === 0;
}

async function showPolicies() {
  const models = await (await call("/v1/models")).json();
  const names = models.data.map(({ id }) => id).filter((id) => id === "auto" || id.startsWith("auto:"));
  const choices = names.map((id) => new Option(id, id.slice("auto:".length)));
  $("policy").replaceChildren(...choices);
  $("policy-field").hidden = choices.length < 2;
}

async function refresh() {
  showError(null);
  optionsOf = "";
  // One after the other: if a key is required, the first request reports it.
  try {
    await showProblem();
    await showPolicies();
    await showSpending();
    await decide();
  } catch (error) {
    showError(error);
  }
}

$("prompt").addEventListener("input", decide);
$("policy").addEventListener("change", decide);
$("reset").addEventListener("click", () => {
  for (const limit of limits) limit.reset();
  decide();
});
$("send").addEventListener("click", send);
$("stop").addEventListener("click", () => sending?.abort());
$("key-form").addEventListener("submit", useKey);
$("forget-key").addEventListener("click", () => {
  showKeyForm();
  refresh();
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("send").disabled) send();
});
$("key-state").hidden = !sessionStorage.getItem(KEY);

try {
  await showLimits();
} catch (error) {
  showError(error);
}
await refresh();
