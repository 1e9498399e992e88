"use strict";
// Marks of recordings: kept by the browser, exported as CSV and JSON.
globalThis.diffio ??= {};

diffio.MARKS = [
  { mark: "b", label: "Bad", meaning: "bad, restore again" },
  { mark: "1", label: "1", meaning: "1 of 5" },
  { mark: "2", label: "2", meaning: "2 of 5" },
  { mark: "3", label: "3", meaning: "3 of 5" },
  { mark: "4", label: "4", meaning: "4 of 5" },
  { mark: "5", label: "5", meaning: "5 of 5" },
  { mark: "g", label: "Good", meaning: "good" },
];

/** One mark for each recording, stored under the key of the report. Emits `change`. */
diffio.Marks = class extends EventTarget {
  #name;
  #marks = {};
  /** False if the browser does not store anything for this page. */
  stored = true;

  constructor(key) {
    super();
    this.#name = `diffio-marks:${key}`;
    this.#read();
    // Another tab with the same report.
    globalThis.addEventListener("storage", (event) => {
      if (event.key !== this.#name) return;
      this.#read();
      this.dispatchEvent(new Event("change"));
    });
  }

  get(id) {
    return this.#marks[id] ?? null;
  }

  get count() {
    return Object.keys(this.#marks).length;
  }

  /** Set the mark of a recording; null removes it. */
  set(id, mark) {
    if (this.stored) this.#read();
    if (mark === null) delete this.#marks[id];
    else this.#marks[id] = mark;
    try {
      localStorage.setItem(this.#name, JSON.stringify(this.#marks));
    } catch {
      this.stored = false;
    }
    this.dispatchEvent(new Event("change"));
  }

  #read() {
    try {
      this.#marks = JSON.parse(localStorage.getItem(this.#name) ?? "{}");
    } catch {
      this.stored = false;
    }
  }

  /** Return the marked rows in the order of the report. */
  entries(rows) {
    return rows
      .filter((row) => this.get(row.id) !== null)
      .map((row) => ({ path: row.path, file_id: row.file_id ?? null, name: row.name, mark: this.get(row.id), generation: row.generation ?? null }));
  }

  csv(rows) {
    const cell = (value) => {
      const text = value === null ? "" : String(value);
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const columns = ["path", "file_id", "name", "mark", "generation"];
    const lines = this.entries(rows).map((entry) => columns.map((column) => cell(entry[column])).join(","));
    return [columns.join(","), ...lines, ""].join("\r\n");
  }

  json(rows, key) {
    return `${JSON.stringify({ version: 1, key, marks: this.entries(rows) }, null, 1)}\n`;
  }
};

/** Offer a text as a file. */
diffio.download = (name, type, text) => {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = diffio.el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
};
