// A plot of the last minutes, which pointers and arrow keys read.

import { time } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WINDOW_MS = 600_000;
const HEIGHT = 152;
const TOP = 10;
const BOTTOM = 18;
const LEFT = 64;
// Samples that PageUp and PageDown move by.
const PAGE = 15;

function element(name, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    node.setAttribute(key, value);
  }
  node.textContent = text;
  return node;
}

// What values up to `most` are drawn on: {most, ticks, place}, where place says
// how far up a value is, 0 to 1.

function linear(most) {
  return { ticks: [0, most / 2, most], place: (value) => value / most };
}

// From a millionth up.
function logarithmic(most) {
  const least = 1e-6;
  const powers = Math.ceil(Math.log10(most / least) - 1e-9);
  const ticks = Array.from({ length: powers + 1 }, (_, i) => least * 10 ** i);
  return { ticks, place: (value) => Math.log10(Math.max(value, least) / least) / powers };
}

// The least of 1, 2, 5, 10, ... that is not below `value`, in units of 1024 if
// `binary`.
function niceMaximum(value, binary) {
  let unit = 1;
  if (binary) {
    while (value / unit >= 1000) unit *= 1024;
  }
  const scaled = value / unit;
  const power = 10 ** Math.floor(Math.log10(scaled));
  return unit * [1, 2, 5, 10].map((n) => n * power).find((n) => n >= scaled * 0.9999);
}

export class Plot {
  // `lines`: [{column, label, color, faint}]. `format` writes a value. `least` is
  // the least maximum of the axis; `log`: it is logarithmic.
  constructor(parent, { title, lines, format, binary = false, log = false, least }) {
    this.title = title;
    this.lines = lines;
    this.format = format;
    this.binary = binary;
    this.log = log;
    this.least = least;
    this.limit = null; // What values cannot exceed.
    this.rows = [];
    this.interval = 2000;
    this.cursor = null; // The time in ms; null: now.
    this.figure = document.createElement("figure");
    this.area = document.createElement("div");
    this.makeCaption();
    this.makeArea();
    parent.append(this.figure);
    new ResizeObserver(() => this.draw()).observe(this.area);
  }

  makeCaption() {
    const caption = document.createElement("figcaption");
    const title = document.createElement("b");
    title.textContent = this.title;
    this.when = document.createElement("span");
    this.when.className = "dim";
    const legend = document.createElement("ul");
    legend.className = "legend";
    this.values = this.lines.map((line) => {
      const item = document.createElement("li");
      const key = element("svg", { viewBox: "0 0 24 8", "aria-hidden": "true", class: "plot" });
      key.append(element("path", { d: "M0 4H24", class: this.classOf(line) }));
      const value = document.createElement("span");
      item.append(key, ` ${line.label} `, value);
      legend.append(item);
      return value;
    });
    caption.append(title, this.when);
    this.figure.append(caption, this.area, legend);
  }

  makeArea() {
    this.svg = element("svg", { "aria-hidden": "true" });
    this.area.className = "plot";
    this.area.tabIndex = 0;
    this.area.setAttribute("role", "slider");
    this.area.setAttribute("aria-label", `${this.title}, point in time`);
    this.area.setAttribute("aria-describedby", "plots-help");
    this.area.append(this.svg);
    this.area.addEventListener("keydown", (event) => this.onKey(event));
    this.area.addEventListener("pointermove", (event) => {
      // Scrolling moves the plot beneath a pointer that rests.
      if (!event.movementX && !event.movementY) return;
      const box = this.area.getBoundingClientRect();
      const part = (event.clientX - box.left - LEFT) / (box.width - LEFT);
      this.moveTo(this.end() - WINDOW_MS * (1 - Math.max(0, part)));
    });
    this.area.addEventListener("pointerleave", () => this.moveTo(null));
    this.area.addEventListener("blur", () => this.moveTo(null));
  }

  classOf(line) {
    return `color-${line.color}${line.faint ? " faint" : ""}`;
  }

  // Rows are objects by column, the oldest first.
  show(rows, interval) {
    this.rows = rows;
    this.interval = interval;
    this.draw();
  }

  end() {
    return this.rows.length ? this.rows[this.rows.length - 1].time_ms : Date.now();
  }

  index() {
    if (this.cursor === null) return this.rows.length - 1;
    const later = this.rows.findIndex((row) => row.time_ms >= this.cursor);
    return later < 0 ? this.rows.length - 1 : later;
  }

  moveTo(ms) {
    this.cursor = ms;
    this.draw();
  }

  onKey(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -PAGE, PageUp: PAGE };
    const last = this.rows.length - 1;
    let index = this.index();
    if (event.key in steps) index += steps[event.key];
    else if (event.key === "Home") index = 0;
    else if (event.key === "End" || event.key === "Escape") index = last;
    else return;
    event.preventDefault();
    index = Math.max(0, Math.min(last, index));
    this.moveTo(index >= last ? null : this.rows[index].time_ms);
  }

  draw() {
    const width = Math.max(200, this.area.clientWidth);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const values = this.rows.flatMap((row) => this.lines.map((line) => row[line.column] ?? 0));
    const most = Math.max(this.least, ...values);
    const scale = this.log ? logarithmic(most) : linear(this.limit ?? niceMaximum(most, this.binary));
    const end = this.end();
    this.x = (ms) => LEFT + (width - LEFT) * (1 - (end - ms) / WINDOW_MS);
    this.y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(1, scale.place(value)));
    this.svg.replaceChildren(
      ...this.grid(scale.ticks, width, end),
      ...this.lines.map((line) => element("path", { d: this.path(line), class: this.classOf(line) })),
      ...this.mark(),
    );
    this.tell();
  }

  grid(ticks, width, end) {
    const nodes = [];
    ticks.forEach((value, i) => {
      const y = this.y(value);
      const fromTop = ticks.length - 1 - i;
      nodes.push(element("path", { d: `M${LEFT} ${y}H${width}`, class: "grid" }));
      // Where there are many, every other one has a label.
      if (ticks.length > 4 && fromTop % 2 === 1) return;
      nodes.push(element("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, this.format(value)));
    });
    for (const minutes of [8, 6, 4, 2, 0]) {
      const x = this.x(end - minutes * 60_000);
      const text = minutes ? `-${minutes} min` : "now";
      nodes.push(element("text", { x, y: HEIGHT - 4, "text-anchor": minutes ? "middle" : "end" }, text));
    }
    return nodes;
  }

  // Where nothing was measured, the line is broken.
  path(line) {
    let d = "";
    let before = -Infinity;
    for (const row of this.rows) {
      const value = row[line.column];
      if (value === null) continue;
      const joined = row.time_ms - before < 2.5 * this.interval;
      d += `${joined ? "L" : "M"}${this.x(row.time_ms).toFixed(1)} ${this.y(value).toFixed(1)}`;
      if (!joined) d += "h0.5";
      before = row.time_ms;
    }
    return d;
  }

  mark() {
    if (this.cursor === null || !this.rows.length) return [];
    const x = this.x(this.rows[this.index()].time_ms);
    return [element("path", { d: `M${x} ${TOP}V${HEIGHT - BOTTOM}`, class: "cursor" })];
  }

  // Says what is where the cursor is, in the legend and to screen readers.
  tell() {
    const index = this.index();
    const row = this.rows[index] ?? {};
    const texts = this.lines.map((line) => this.format(row[line.column] ?? null));
    this.values.forEach((node, i) => {
      if (node.textContent !== texts[i]) node.textContent = texts[i];
    });
    this.when.textContent = this.cursor === null ? "now" : time(row.time_ms);
    const words = this.lines.map((line, i) => `${line.label} ${texts[i]}`).join(", ");
    this.area.setAttribute("aria-valuemin", 0);
    this.area.setAttribute("aria-valuemax", Math.max(0, this.rows.length - 1));
    this.area.setAttribute("aria-valuenow", Math.max(0, index));
    this.area.setAttribute("aria-valuetext", `${this.when.textContent}: ${words}`);
  }
}
