"use strict";
// The parts of a report: blocks inside the page, or files beside it.
globalThis.diffio ??= {};

diffio.bytesOf = (base64) => {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
};

/** Media, pictures and details of the recording that is shown; those of earlier ones are released. */
diffio.Parts = class {
  #urls = new Map();
  #loading = new Map();
  #waiting = new Map();

  constructor() {
    // Files beside the page call this function; a page opened from a disk cannot fetch them.
    globalThis.diffioDetails = (id, details) => this.#waiting.get(id)?.(details);
  }

  /** Return a URL of a part; blob URLs are valid until `release`. */
  async url(ref, type) {
    if (!ref) return null;
    if (ref.href !== undefined) return ref.href;
    if (!this.#urls.has(ref.block)) {
      const bytes = await this.#bytes(ref.block);
      if (!this.#urls.has(ref.block)) {
        this.#urls.set(ref.block, URL.createObjectURL(new Blob([bytes], { type })));
      }
    }
    return this.#urls.get(ref.block);
  }

  /** Return the details of a row, or null if it has none. */
  async details(row) {
    const ref = row.details;
    if (!ref) return null;
    if (ref.block !== undefined) return JSON.parse(new TextDecoder().decode(await this.#bytes(ref.block)));
    if (!this.#loading.has(row.id)) {
      const loading = this.#script(row.id, ref.href);
      this.#loading.set(row.id, loading);
      loading.catch(() => this.#loading.delete(row.id));
    }
    return this.#loading.get(row.id);
  }

  /** Release the memory of all parts that were decoded. */
  release() {
    for (const url of this.#urls.values()) URL.revokeObjectURL(url);
    this.#urls.clear();
  }

  async #bytes(block) {
    let element = document.getElementById(block);
    // The parts are the end of the page, which may still be loading.
    while (document.readyState === "loading" && !element?.nextElementSibling) {
      await new Promise((resolve) => setTimeout(resolve, 40));
      element = document.getElementById(block);
    }
    if (!element) throw new Error("The report is incomplete. Make it again.");
    return diffio.bytesOf(element.textContent);
  }

  #script(id, href) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const done = (settle, value) => {
        this.#waiting.delete(id);
        script.remove();
        settle(value);
      };
      this.#waiting.set(id, (details) => done(resolve, details));
      script.addEventListener("error", () =>
        done(reject, new Error(`${href} is missing. Keep the folder of the report beside it, or make it again.`)));
      script.src = href;
      document.head.append(script);
    });
  }
};
