// Asks the server every two seconds, and shows what it answers.

import { bytes, bytesPerSecond, count, duration, percent, perSecond, ratio, seconds, time } from "./format.js";
import { Plot } from "./plot.js";
import { VolumeList } from "./volumes.js";

const INTERVAL_MS = 2000;
const TIMEOUT_MS = 10_000;
const WINDOW_MS = 600_000;
// Failed polls in a row until it says that nobody answers.
const PATIENCE = 2;

const MEANINGS = {
  SERVER_MEMORY_LIMIT: "All volumes together have reached the memory limit: trim or delete some, or raise --memory_limit.",
  VOLUME_MEMORY_LIMIT: "A volume has reached its own memory limit: trim it, or raise the limit.",
  PAST_END: "Requests that end past a volume's size.",
  VOLUME_READ_ONLY: "Writes to volumes that are read-only.",
  READ_ONLY_SNAPSHOT: "Writes to snapshots, which never change.",
  VOLUME_DELETED: "Requests to volumes that were deleted meanwhile.",
  CORRUPT_FRAME: "Data was lost: test the machine's memory.",
  TOO_MUCH_DATA: "Requests with more data than one may carry.",
  OTHER: "See the server's log.",
};

const $ = (id) => document.getElementById(id);
const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

async function get(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

class Page {
  constructor() {
    this.start = null; // When the server began, in ms.
    this.rows = [];
    this.failures = 0;
    this.answered = null;
    this.timer = 0;
    this.paused = false;
    this.volumes = new VolumeList(get, () => this.fail());
    this.makePlots();
    setText($("host"), location.host);
    $("pause").addEventListener("click", () => this.pause(!this.paused));
    $("restarted").querySelector("button").addEventListener("click", () => {
      $("restarted").hidden = true;
    });
    document.addEventListener("visibilitychange", () => this.schedule(0));
    this.schedule(0);
  }

  makePlots() {
    const two = (read, write) => [
      { column: read, label: "read", color: 0 },
      { column: write, label: "written", color: 1 },
    ];
    const plot = (options) => new Plot($("plots"), options);
    this.plots = [
      plot({
        title: "Throughput",
        lines: two("read_bytes_per_second", "written_bytes_per_second"),
        format: bytesPerSecond,
        binary: true,
        least: 1024,
      }),
      plot({
        title: "Operations",
        lines: [
          { column: "reads_per_second", label: "reads", color: 0 },
          { column: "writes_per_second", label: "writes", color: 1 },
          { column: "errors_per_second", label: "errors", color: 2, faint: true },
        ],
        format: perSecond,
        least: 10,
      }),
      plot({
        title: "Latency in the engine",
        lines: [
          { column: "read_p99_seconds", label: "reads, 99 %", color: 0 },
          { column: "read_p50_seconds", label: "50 %", color: 0, faint: true },
          { column: "write_p99_seconds", label: "writes, 99 %", color: 1 },
          { column: "write_p50_seconds", label: "50 %", color: 1, faint: true },
        ],
        format: seconds,
        log: true,
        least: 1e-3,
      }),
    ];
    this.memory = plot({
      title: "Memory, up to the limit",
      lines: [
        { column: "memory_used_bytes", label: "volumes", color: 0 },
        { column: "hot_cache_bytes", label: "of it hot cache", color: 1, faint: true },
        { column: "client_memory_used_bytes", label: "for clients", color: 2 },
      ],
      format: bytes,
      binary: true,
      least: 1 << 20,
    });
    this.plots.push(this.memory);
  }

  pause(paused) {
    this.paused = paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    if (paused) this.say("paused", "Paused");
    this.schedule(0);
  }

  schedule(delay) {
    clearTimeout(this.timer);
    if (this.paused || document.hidden) return;
    this.timer = setTimeout(() => this.poll(), delay);
  }

  // One request after the other: a page takes one connection at a time.
  async poll() {
    if (this.polling) return;
    this.polling = true;
    try {
      const status = await get("api/v1/status");
      this.noteStart(status.server);
      await this.loadSeries();
      await this.volumes.load();
      this.show(status);
      this.failures = 0;
      this.answered = Date.now();
      if (!this.paused) this.say("live", "Live");
    } catch {
      this.fail();
    } finally {
      this.polling = false;
      this.schedule(INTERVAL_MS);
    }
  }

  fail() {
    this.failures += 1;
    if (this.failures < PATIENCE || this.paused) return;
    const since = this.answered === null ? "" : ` since ${time(this.answered)}`;
    this.say("lost", `No answer from the server${since}; trying again`);
  }

  say(state, text) {
    $("state").dataset.state = state;
    setText($("state"), text);
  }

  noteStart({ start_time_ms: start }) {
    const restarted = this.start !== null && this.start !== start;
    if (this.start !== start) this.rows = [];
    this.start = start;
    if (!restarted) return;
    setText(
      $("restarted").querySelector("p"),
      `The server restarted at ${time(start)}. Volumes live in memory: those of before are gone, ` +
        "unless its volumes file made them again, empty.",
    );
    $("restarted").hidden = false;
  }

  async loadSeries() {
    const last = this.rows.length ? this.rows[this.rows.length - 1].time_ms : 0;
    const series = await get(`api/v1/series?since_ms=${last}`);
    if (series.start_time_ms !== this.start) return; // The next poll sees it.
    for (const values of series.rows) {
      this.rows.push(Object.fromEntries(series.columns.map((column, i) => [column, values[i]])));
    }
    const end = this.rows.length ? this.rows[this.rows.length - 1].time_ms : 0;
    this.rows = this.rows.filter((row) => row.time_ms >= end - WINDOW_MS);
    for (const plot of this.plots) plot.show(this.rows, series.interval_ms);
  }

  card(id, value, note, part = null) {
    const node = $(id);
    setText(node.querySelector("b"), value);
    setText(node.querySelector("small"), note);
    const meter = node.querySelector("meter");
    if (meter && part !== null) meter.value = part;
  }

  show(status) {
    const { server, memory, hot_cache: hot, client_memory: clients, connections } = status;
    setText(
      $("facts"),
      `version ${server.version}, up ${duration(server.time_ms - server.start_time_ms)}, ` +
        `gRPC ${server.grpc_addresses.join(", ")}` +
        (server.nbd_addresses.length ? `, NBD ${server.nbd_addresses.join(", ")}` : ""),
    );
    $("not-ready").hidden = server.ready;
    setText($("not-ready"), server.ready ? "" : `Not ready: ${server.why_not_ready}`);

    this.memory.limit = memory.limit_bytes;
    const used = memory.used_bytes / memory.limit_bytes;
    this.card("memory", percent(used), `${bytes(memory.used_bytes)} of ${bytes(memory.limit_bytes)}`, used);
    $("memory").classList.toggle("bad", used >= 0.9);
    const now = this.rows[this.rows.length - 1] ?? {};
    this.card(
      "hot-cache",
      bytes(hot.used_bytes),
      `of ${bytes(hot.limit_bytes)}, hits ${percent(now.hot_cache_hit_ratio ?? null)}`,
      hot.used_bytes / hot.limit_bytes,
    );
    const total = this.volumes.total;
    this.card("ratio", ratio(total.ratio), `${bytes(total.logical_bytes)} of data in ${bytes(total.stored_bytes)}`);
    this.card("snapshots", count(status.snapshots), `${bytes(memory.shared_bytes)} shared with volumes and clones`);
    this.card("reads", perSecond(now.reads_per_second ?? null), bytesPerSecond(now.read_bytes_per_second ?? null));
    this.card("writes", perSecond(now.writes_per_second ?? null), bytesPerSecond(now.written_bytes_per_second ?? null));
    this.card(
      "clients",
      count(connections.grpc + connections.nbd + connections.vhost_user),
      `gRPC ${count(connections.grpc)}, NBD ${count(connections.nbd)}, ` +
        `vhost-user ${count(connections.vhost_user)}; memory ${bytes(clients.used_bytes)}` +
        (clients.waiting_clients ? `; ${count(clients.waiting_clients)} wait` : ""),
    );
    this.showErrors(status, now);
  }

  showErrors(status, now) {
    const errors = status.errors.map(({ reason, count: number }) => [reason, number, MEANINGS[reason] ?? ""]);
    const failed = status.errors.reduce((sum, { count: number }) => sum + number, 0);
    this.card("errors-now", perSecond(now.errors_per_second ?? null), `${count(failed)} since the server began`);
    $("errors-now").classList.toggle("bad", (now.errors_per_second ?? 0) > 0);
    for (const { protocol, cause, count: number } of status.turned_away) {
      errors.push([`${protocol}: ${cause}`, number, "Connections that were turned away."]);
    }
    if (status.client_memory.clients_sent_away) {
      errors.push(["CLIENT_TOO_SLOW", status.client_memory.clients_sent_away, "Clients that held memory others waited for."]);
    }
    $("no-errors").hidden = errors.length > 0;
    $("errors").hidden = errors.length === 0;
    const body = $("errors").tBodies[0];
    while (body.rows.length > errors.length) body.lastChild.remove();
    errors.forEach(([reason, number, meaning], i) => {
      const row = body.rows[i] ?? this.addErrorRow(body);
      [reason, count(number), meaning].forEach((text, j) => setText(row.cells[j], text));
    });
  }

  addErrorRow(body) {
    const row = body.insertRow();
    for (let i = 0; i < 3; ++i) row.insertCell();
    row.cells[1].className = "number";
    return row;
  }
}

new Page();
