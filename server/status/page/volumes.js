// The table of volumes: filtered, sorted and cut into pages by the server.

import { bytes, bytesPerSecond, count, perSecond, ratio } from "./format.js";

const PAGE_SIZE = 50;
const FILTER_DELAY_MS = 200;

// What the table shows, by the fields of api/v1/volumes.
const COLUMNS = [
  { key: "name", label: "Name" },
  { key: "size_bytes", label: "Size", format: bytes, exact: true },
  { key: "logical_bytes", label: "Data", format: bytes, exact: true },
  { key: "memory_bytes", label: "Memory", format: bytes, exact: true },
  { key: "own_bytes", label: "Own", format: bytes, exact: true },
  { key: "ratio", label: "Ratio", format: ratio },
  { key: "attached_clients", label: "Clients", format: count },
  { key: "reads_per_second", label: "Reads", format: perSecond },
  { key: "writes_per_second", label: "Writes", format: perSecond },
  { key: "read_bytes_per_second", label: "Bytes read", format: bytesPerSecond },
  { key: "written_bytes_per_second", label: "Bytes written", format: bytesPerSecond },
  { key: "failed_operations", label: "Errors", format: count },
];

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function cell(name, column) {
  const node = document.createElement(name);
  if (column.key !== "name") node.className = "number";
  return node;
}

export class VolumeList {
  // `get` fetches JSON; `failed` is told when that fails outside of load.
  constructor(get, failed) {
    this.get = get;
    this.failed = failed;
    this.loads = 0;
    this.matching = 0;
    this.table = document.getElementById("volume-table");
    this.filter = document.getElementById("filter");
    const query = new URLSearchParams(location.search);
    this.filter.value = query.get("filter") ?? "";
    this.sort = COLUMNS.some(({ key }) => key === query.get("sort")) ? query.get("sort") : "name";
    this.order = query.get("order") === "desc" ? "desc" : "asc";
    this.offset = Math.max(0, Math.floor(Number(query.get("offset"))) || 0);
    this.makeHead();
    this.listen();
  }

  makeHead() {
    const row = this.table.tHead.rows[0];
    for (const column of COLUMNS) {
      const head = cell("th", column);
      head.scope = "col";
      head.setAttribute("role", "columnheader");
      head.dataset.key = column.key;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = column.label;
      button.addEventListener("click", () => this.sortBy(column.key));
      head.append(button);
      row.append(head);
    }
    this.showOrder();
  }

  listen() {
    let timer = 0;
    this.filter.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.goTo(0), FILTER_DELAY_MS);
    });
    document.getElementById("search").addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("previous").addEventListener("click", () => this.goTo(this.offset - PAGE_SIZE));
    document.getElementById("next").addEventListener("click", () => this.goTo(this.offset + PAGE_SIZE));
  }

  // Numbers begin with the largest.
  sortBy(key) {
    const first = key === "name" ? "asc" : "desc";
    const other = first === "asc" ? "desc" : "asc";
    this.order = this.sort === key && this.order === first ? other : first;
    this.sort = key;
    this.showOrder();
    this.goTo(0);
  }

  showOrder() {
    for (const head of this.table.tHead.rows[0].cells) {
      const sorted = head.dataset.key === this.sort;
      head.setAttribute("aria-sort", !sorted ? "none" : this.order === "asc" ? "ascending" : "descending");
    }
  }

  goTo(offset) {
    this.offset = Math.max(0, offset);
    const query = this.query();
    query.delete("limit");
    history.replaceState(null, "", `?${query}${location.hash}`);
    this.load().catch(this.failed);
  }

  query() {
    return new URLSearchParams({
      filter: this.filter.value,
      sort: this.sort,
      order: this.order,
      offset: this.offset,
      limit: PAGE_SIZE,
    });
  }

  // Shows what the server answers, unless something else was asked for since.
  async load() {
    this.loads += 1;
    const load = this.loads;
    const answer = await this.get(`api/v1/volumes?${this.query()}`);
    if (load !== this.loads) return;
    if (answer.volumes.length === 0 && answer.matching > 0) {
      this.goTo(Math.floor((answer.matching - 1) / PAGE_SIZE) * PAGE_SIZE);
      return;
    }
    this.total = answer.total;
    this.show(answer);
  }

  show(answer) {
    const body = this.table.tBodies[0];
    while (body.rows.length > answer.volumes.length) body.lastChild.remove();
    answer.volumes.forEach((volume, i) => this.fill(body.rows[i] ?? this.addRow(body), volume));
    const { matching, total, offset, volumes } = answer;
    const what = `${count(matching)} ${matching === 1 ? "volume" : "volumes"}`;
    setText(
      document.getElementById("summary"),
      this.filter.value ? `${what} with “${this.filter.value}”` : what,
    );
    const last = offset + volumes.length;
    const range = matching ? `${count(offset + 1)}–${count(last)} of ${count(matching)}` : "";
    setText(document.getElementById("range"), range);
    document.getElementById("previous").disabled = offset === 0;
    document.getElementById("next").disabled = last >= matching;
    this.table.setAttribute("aria-rowcount", matching + 1);
    this.total = total;
  }

  addRow(body) {
    const row = body.insertRow();
    row.setAttribute("role", "row");
    for (const column of COLUMNS) {
      const node = cell("td", column);
      node.dataset.label = column.label;
      node.setAttribute("role", column.key === "name" ? "rowheader" : "cell");
      row.append(node);
    }
    row.cells[0].append(document.createElement("span"), document.createElement("small"));
    return row;
  }

  fill(row, volume) {
    COLUMNS.forEach((column, i) => {
      const node = row.cells[i];
      const value = volume[column.key];
      if (column.key === "name") {
        setText(node.firstChild, value);
        setText(node.lastChild, this.notes(volume));
        return;
      }
      setText(node, column.format(value));
      if (column.exact) node.title = `${count(value)} bytes`;
    });
  }

  // Beneath the name: what is not as usual, and labels.
  notes(volume) {
    const notes = Object.entries(volume.labels).map(([key, value]) => `${key}=${value}`);
    if (volume.allocator !== "ZSTD") notes.unshift(volume.allocator);
    if (volume.read_only) notes.unshift("read-only");
    if (volume.memory_limit_bytes) notes.push(`at most ${bytes(volume.memory_limit_bytes)}`);
    return notes.join(", ");
  }
}
