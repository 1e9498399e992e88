"use strict";
// Uploads of recordings to the sandbox: chosen, or dropped on the page.
globalThis.diffio ??= {};

/** Send a request that changes something, with the token of the page; return its JSON. */
diffio.post = async (path, body, headers = {}) => {
  const token = document.querySelector('meta[name="page-token"]').content;
  const response = await fetch(path, { method: "POST", body, headers: { "X-Page-Token": token, ...headers } });
  const result = await response.json();
  if (!response.ok) throw new Error(result.error);
  return result;
};

/** Uploads, a few at a time, with a line for each. Emits `started` with the id of the generation. */
diffio.Uploads = class extends EventTarget {
  static #CONCURRENT = 2;
  #list;
  #model;
  #waiting = [];
  #running = 0;
  #maxBytes = Infinity;

  constructor({ drop, choose, files, list, model }) {
    super();
    this.#list = list;
    this.#model = model;
    choose.addEventListener("click", () => files.click());
    files.addEventListener("change", () => {
      this.add(files.files);
      files.value = "";
    });
    // The whole page takes files: one that misses the frame must not replace the page.
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) drop.classList.remove("over");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.add(event.dataTransfer.files);
    });
  }

  set maxBytes(value) {
    this.#maxBytes = value;
  }

  add(files) {
    const { el } = diffio;
    for (const file of files) {
      const progress = el("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
      const text = el("span", {}, file.name);
      const line = el("li", {}, text, progress);
      this.#list.append(line);
      if (file.size > this.#maxBytes) {
        this.#fail(line, `${file.name}: larger than ${(this.#maxBytes / 1e9).toFixed(1)} GB, the limit of this sandbox`);
      } else this.#waiting.push({ file, progress, line });
    }
    this.#next();
  }

  #next() {
    while (this.#running < diffio.Uploads.#CONCURRENT && this.#waiting.length) {
      this.#running++;
      this.#upload(this.#waiting.shift()).finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }

  async #upload({ file, progress, line }) {
    try {
      const { generationId } = await this.#send(file, progress);
      line.remove();
      this.dispatchEvent(new CustomEvent("started", { detail: generationId }));
    } catch (error) {
      this.#fail(line, `${file.name}: ${error.message}`);
    }
  }

  /** Send a file with XMLHttpRequest, which unlike fetch reports the progress. */
  #send(file, progress) {
    const query = new URLSearchParams({ name: file.name, model: this.#model.value });
    const request = new XMLHttpRequest();
    request.open("POST", `page/upload?${query}`);
    request.setRequestHeader("X-Page-Token", document.querySelector('meta[name="page-token"]').content);
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => { progress.value = event.loaded / (event.total || 1); });
    return new Promise((resolve, reject) => {
      request.addEventListener("load", () => (request.status === 200
        ? resolve(request.response)
        : reject(new Error(request.response?.error ?? `the sandbox responded ${request.status}`))));
      request.addEventListener("error", () => reject(new Error("the sandbox cannot be reached")));
      request.send(file);
    });
  }

  #fail(line, message) {
    const { el } = diffio;
    line.replaceChildren(el("span", { className: "bad", role: "alert" }, message),
      el("span", {}, el("button", { type: "button", on: { click: () => line.remove() } }, "Dismiss")));
  }
};
