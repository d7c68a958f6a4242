// The chart: predicted quality (linear) against predicted cost (logarithmic), one curve for each model.
import { budgetText, percent, usd } from "/format.js";

const MARGIN = { left: 44, right: 12, top: 12, bottom: 40 };

function element(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

export const pairOf = (option) => JSON.stringify([option.model, option.budget]);

const budgetOrder = (option) => (option.budget === "unlimited" ? Infinity : option.budget);

export class Chart {
  #svg;
  #readout;
  #data = null;
  #points = []; // {option, x, y}, the cheapest first
  #cursor = -1; // index in #points

  constructor(svg, readout) {
    this.#svg = svg;
    this.#readout = readout;
    new ResizeObserver(() => this.#draw()).observe(svg);
    svg.addEventListener("pointermove", (event) => this.#pointAt(event));
    svg.addEventListener("pointerdown", (event) => this.#pointAt(event));
    svg.addEventListener("keydown", (event) => this.#onKey(event));
  }

  // `options`: every pair; `allowed`: a Set of pairOf() of those that meet the limits. `chosen` and `second`
  // are options, or null.
  show(options, allowed, chosen, second) {
    const models = Map.groupBy(options, (option) => option.model);
    for (const curve of models.values()) curve.sort((a, b) => budgetOrder(a) - budgetOrder(b));
    const pointed = this.#points[this.#cursor]?.option;
    this.#data = { models, options, allowed, chosen, second };
    this.#draw();
    this.#point(pointed ? this.#points.findIndex(({ option }) => pairOf(option) === pairOf(pointed)) : -1);
  }

  #draw() {
    const { width, height } = this.#svg.getBoundingClientRect();
    if (this.#data === null || width === 0) return;
    const { models, options, allowed, chosen, second } = this.#data;
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    // A free model has cost 0, which has no logarithm.
    const costs = options.map((option) => option.predicted_cost_usd).filter((cost) => cost > 0);
    const least = costs.length > 0 ? Math.min(...costs) : 1e-6;
    const from = Math.log10(least) - 0.1;
    const to = Math.max(Math.log10(costs.length > 0 ? Math.max(...costs) : least), from + 0.5) + 0.1;
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    const x = (cost) =>
      MARGIN.left + ((Math.log10(Math.max(cost, least)) - from) / (to - from)) * (right - MARGIN.left);
    const y = (quality) => bottom - quality * (bottom - MARGIN.top);

    const parts = this.#axes(x, y, from, to, right, bottom);
    const place = (option) => ({ option, x: x(option.predicted_cost_usd), y: y(option.predicted_quality) });
    this.#points = options.map(place).sort((a, b) => a.x - b.x);
    // The highlighted curves are drawn last, above the others.
    const weight = (name) => (name === chosen?.model ? 2 : name === second?.model ? 1 : 0);
    for (const name of [...models.keys()].sort((a, b) => weight(a) - weight(b))) {
      parts.push(this.#curve(name, models.get(name).map(place), allowed, ["", "second", "chosen"][weight(name)]));
    }
    for (const [option, style] of [[second, "second-name"], [chosen, "name"]]) {
      if (!option) continue;
      const at = place(option);
      if (option === chosen) parts.push(element("circle", { class: "mark", cx: at.x, cy: at.y, r: 8 }));
      // Below its point, so that it does not cover the name of the chosen one above.
      const height = option === second ? at.y + 24 : Math.max(at.y - 12, MARGIN.top);
      const text = option === chosen ? `${option.model}, ${budgetText(option)}` : option.model;
      parts.push(element("text", { class: style, x: at.x + 6, y: height }, text));
    }
    parts.push(element("circle", { class: "cursor", r: 6, visibility: "hidden" }));
    this.#svg.replaceChildren(...parts);
    for (const text of this.#svg.querySelectorAll(".name, .second-name")) {
      const most = right - text.getComputedTextLength();
      if (Number(text.getAttribute("x")) > most) text.setAttribute("x", most);
    }
    this.#svg.setAttribute(
      "aria-label",
      `Predicted quality against predicted cost of ${options.length} options of ${models.size} models. ` +
        (chosen ? `Chosen: ${describe(chosen)}` : "None meets the limits."),
    );
  }

  #axes(x, y, from, to, right, bottom) {
    const parts = [];
    for (const quality of [0, 0.25, 0.5, 0.75, 1]) {
      const at = y(quality);
      parts.push(element("line", { class: "grid", x1: MARGIN.left, x2: right, y1: at, y2: at }));
      parts.push(element("text", { x: MARGIN.left - 8, y: at + 4, "text-anchor": "end" }, percent(quality)));
    }
    // A narrow chart only has room for every second decade.
    const step = (right - MARGIN.left) / (to - from) < 60 ? 2 : 1;
    for (let decade = Math.ceil(from); decade <= to; decade += step) {
      const at = x(10 ** decade);
      parts.push(element("line", { class: "grid", x1: at, x2: at, y1: MARGIN.top, y2: bottom }));
      parts.push(element("text", { x: at, y: bottom + 16, "text-anchor": "middle" }, usd(10 ** decade)));
    }
    const middle = (MARGIN.left + right) / 2;
    parts.push(element("text", { x: middle, y: bottom + 34, "text-anchor": "middle" }, "predicted cost"));
    return parts;
  }

  #curve(name, points, allowed, style) {
    const group = element("g", { class: style, "data-model": name });
    const isAllowed = ({ option }) => allowed.has(pairOf(option));
    const line = (some) => some.map((point) => `${point.x},${point.y}`).join(" ");
    const left = points.filter(isAllowed);
    if (left.length > 0) group.append(element("polyline", { class: "curve", points: line(left) }));
    if (left.length < points.length) group.append(element("polyline", { class: "curve left-out", points: line(points) }));
    for (const point of points) {
      const shade = isAllowed(point) ? "point" : "point left-out";
      group.append(element("circle", { class: shade, cx: point.x, cy: point.y, r: 3 }));
    }
    return group;
  }

  #pointAt(event) {
    const box = this.#svg.getBoundingClientRect();
    const distance = (point) => Math.hypot(point.x - (event.clientX - box.left), point.y - (event.clientY - box.top));
    let nearest = -1;
    this.#points.forEach((point, index) => {
      if (nearest < 0 || distance(point) < distance(this.#points[nearest])) nearest = index;
    });
    this.#point(nearest);
  }

  #onKey(event) {
    const last = this.#points.length - 1;
    const moves = { ArrowRight: this.#cursor + 1, ArrowLeft: this.#cursor - 1, Home: 0, End: last };
    if (!(event.key in moves) || last < 0) return;
    event.preventDefault();
    this.#point(Math.min(Math.max(moves[event.key], 0), last));
  }

  #point(index) {
    this.#cursor = index;
    const point = this.#points[index];
    for (const group of this.#svg.querySelectorAll("g")) {
      group.classList.toggle("pointed", group.dataset.model === point?.option.model);
    }
    const cursor = this.#svg.querySelector(".cursor");
    cursor?.setAttribute("visibility", point ? "visible" : "hidden");
    if (point) {
      cursor.setAttribute("cx", point.x);
      cursor.setAttribute("cy", point.y);
    }
    const leftOut = point && !this.#data.allowed.has(pairOf(point.option)) ? " (does not meet the limits)" : "";
    this.#readout.textContent = point ? describe(point.option) + leftOut : "";
  }
}

export function describe(option) {
  return (
    `${option.model}, ${budgetText(option)}: quality ${percent(option.predicted_quality)}, ` +
    `cost ${usd(option.predicted_cost_usd)}, at most ${usd(option.worst_case_cost_usd)}`
  );
}
