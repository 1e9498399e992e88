"use strict";
// The page of the sandbox: recordings with live progress, requests, deliveries and faults.
globalThis.diffio ??= {};

diffio.Sandbox = class {
  static #VIEWS = ["recordings", "requests", "deliveries", "faults"];
  static #ENDED = ["restored", "failed"];
  #rows = new Map();
  #list;
  #recording = null;
  #shown = null;
  #awaited = null;
  #compared = null;
  #comparing = new AbortController();

  constructor() {
    this.#list = new diffio.List(this.#get("list"), {
      label: "Recordings", height: 60, create: () => this.#createRow(), update: (element, row) => this.#updateRow(element, row),
    });
    this.#list.addEventListener("select", () => this.#show());
    this.#list.addEventListener("open", () => { document.body.dataset.view = "recording"; });
    const uploads = new diffio.Uploads({
      drop: this.#get("drop"), choose: this.#get("choose"), files: this.#get("files"),
      list: this.#get("uploads"), model: this.#get("model"),
    });
    // The new recording is selected as soon as an update lists it.
    uploads.addEventListener("started", (event) => { this.#awaited = event.detail; });
    for (const button of document.querySelectorAll("[data-shows]")) {
      button.addEventListener("click", () => this.#view(button.dataset.shows));
    }
    this.#keys();
    this.#updates({
      server: (server) => {
        uploads.maxBytes = server.maxBytes;
        this.#showServer(server);
      },
      recordings: (rows) => this.#setRows(rows),
      requests: (log) => {
        this.#get("request-count").textContent = log.violations.length ? `${log.violations.length} complaints` : "";
        this.#get("requests").replaceChildren(...diffio.requestsView(log).filter(Boolean));
      },
      deliveries: (attempts) => {
        this.#get("deliveries").replaceChildren(...diffio.deliveriesView(attempts));
      },
      faults: (active) => this.#showFaults(active),
    });
  }

  #get(id) {
    return document.getElementById(id);
  }

  // -- updates

  #updates(handlers) {
    const source = new EventSource("page/updates");
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
    source.addEventListener("open", () => { this.#get("offline").hidden = true; });
    source.addEventListener("error", () => {
      this.#get("offline").textContent = "The sandbox does not respond. Start it again: diffio-async sandbox";
      this.#get("offline").hidden = false;
    });
  }

  #showServer(server) {
    const { el, format } = diffio;
    const engine = server.engine === "echo" ? "results are the uploads, unchanged" : "restores on this machine";
    this.#get("summary").replaceChildren(
      el("code", {}, server.apiUrl), ` \u00b7 ${engine} \u00b7 ${format.count(server.recordings, "recording")}`);
    const model = this.#get("model");
    const models = server.models ?? ["diffio-4.6-flash"];
    if (model.options.length !== models.length) {
      model.replaceChildren(...models.map((name) => el("option", { value: name }, name)));
    }
    this.#get("shown").textContent = server.recordings > server.shown ? `The newest ${server.shown} are shown.` : "";
  }

  #setRows(rows) {
    // Rows keep their objects, so that the selection stays.
    const items = rows.map((row) => Object.assign(this.#rows.get(row.id) ?? {}, { error: null, percent: null }, row));
    this.#rows = new Map(items.map((row) => [row.id, row]));
    const before = this.#row;
    const same = items.length === this.#list.items.length && items.every((row, i) => row === this.#list.items[i]);
    if (same) this.#list.refresh();
    else this.#list.setItems(items);
    const awaited = items.findIndex((row) => row.id === this.#awaited);
    if (awaited >= 0) {
      this.#awaited = null;
      this.#list.select(awaited);
    } else if (this.#list.selected < 0 && items.length) this.#list.select(0);
    else if (this.#row && this.#row === before) this.#refresh();
    if (!items.length) this.#showNothing();
  }

  // -- the list

  get #row() {
    return this.#list.items[this.#list.selected];
  }

  #createRow() {
    const { el } = diffio;
    return el("div", { className: "plain" },
      el("span", { className: "row-name" }), el("span", { className: "row-facts" }), el("span", { className: "row-gain" }));
  }

  #updateRow(element, row) {
    const [name, facts, percent] = element.children;
    element.title = row.name;
    name.replaceChildren(...diffio.nameParts(row.name).slice(-1));
    const time = new Date(row.created).toLocaleTimeString("en-GB");
    facts.replaceChildren(...diffio.facts({ ...row, model: null }), diffio.el("span", { className: "fact" }, time));
    const busy = Number.isFinite(row.percent) && !diffio.Sandbox.#ENDED.includes(row.state);
    percent.textContent = busy ? `${row.percent} %` : "";
  }

  // -- the recording

  #showNothing() {
    const { el } = diffio;
    this.#get("status").replaceChildren(el("div", { className: "empty-note" },
      el("p", {}, "No recording yet. Drop one on this page, or point a client at the sandbox:"),
      el("pre", { tabIndex: 0 }, "diffio-async restore --sandbox talk.wav")));
  }

  #show() {
    const row = this.#row;
    this.#shown = null;
    this.#compared = null;
    this.#comparing.abort();
    this.#recording?.player.unload();
    this.#get("comparison").hidden = true;
    this.#get("downloads").replaceChildren();
    if (!row) return;
    this.#announce(`${row.name}, ${row.state}`);
    this.#refresh();
  }

  /** Show the state of the row that is selected, and its comparison as soon as it has a result. */
  #refresh() {
    const { el } = diffio;
    const row = this.#row;
    const state = JSON.stringify([row.id, row.state, row.percent, row.stage, row.position, row.files, row.transcription]);
    if (state === this.#shown) return;
    this.#shown = state;
    const status = [];
    if (row.state !== "restored") {
      status.push(el("div", { className: "title" }, el("h2", {}, ...diffio.nameParts(row.name)), this.#backButton()));
    }
    if (row.state === "queued") status.push(el("p", {}, `${row.position} restorations are ahead of this one.`));
    if (row.state === "processing") {
      const bar = el("progress", { max: 100, "aria-label": "Progress of the restoration" });
      if (Number.isFinite(row.percent)) bar.value = row.percent;
      status.push(bar, el("p", {}, `${row.stage ?? "starting"}: ${row.percent ?? 0} %`));
    }
    if (row.state === "uploading" || row.state === "uploaded") {
      status.push(el("p", {}, row.state === "uploading" ? "The upload has not arrived yet." : "No restoration was started."));
    }
    if (row.error) status.push(el("div", { className: "notice bad" }, el("p", {}, row.error)));
    if (row.state === "restored") {
      // A transcript is one file more, and part of a new comparison.
      const files = `${row.id} ${row.files.length}`;
      if (this.#compared !== files) {
        this.#compared = files;
        status.push(el("p", { className: "measuring" }, "Measuring\u2026"));
        this.#compare(row);
      }
    }
    this.#get("status").replaceChildren(...status);
    this.#showDownloads(row);
  }

  #showDownloads(row) {
    const { el } = diffio;
    const links = (row.files ?? []).map((type) => el("a", { href: `page/media/${row.id}/${type}`, download: "" }, type));
    const transcribe = el("button", { type: "button", on: { click: () => this.#transcribe(row, transcribe) } }, "Make a transcript");
    this.#get("downloads").replaceChildren(...(links.length
      ? [el("h3", {}, "Download"), el("p", {}, ...[...links, row.transcription === "pending" ? transcribe : null].filter(Boolean))] : []));
  }

  async #transcribe(row, button) {
    button.disabled = true;
    button.textContent = "Transcribing\u2026";
    try {
      await diffio.post(`page/transcript/${row.id}`);
    } catch (error) {
      this.#recording?.fail(error.message);
    }
  }

  async #compare(row) {
    this.#comparing.abort();
    this.#comparing = new AbortController();
    const { signal } = this.#comparing;
    try {
      // Stepping through the list measures nothing.
      await new Promise((resolve) => setTimeout(resolve, 200));
      const response = await fetch(`page/comparison/${row.id}`, { signal });
      const body = await response.json();
      if (!response.ok) throw new Error(body.error);
      if (signal.aborted) return;
      this.#recording ??= this.#createRecording(body.scales);
      await this.#showComparison({ ...body.row, ...row, warnings: [...row.warnings, ...body.row.warnings] }, signal);
      if (!signal.aborted) this.#get("comparison").hidden = false;
    } catch (error) {
      if (!signal.aborted) {
        this.#get("status").append(diffio.el("p", { className: "notice bad", role: "alert" }, error.message));
      }
    } finally {
      if (!signal.aborted) document.querySelector(".measuring")?.remove();
    }
  }

  #createRecording(scales) {
    return new diffio.Recording(this.#get("comparison"), scales, [this.#backButton()]);
  }

  #backButton() {
    const { el, icon } = diffio;
    return el("button", {
      type: "button", className: "back", "aria-label": "All recordings", on: { click: () => { document.body.dataset.view = "list"; } },
    }, icon("back"));
  }

  async #showComparison(row, signal) {
    const { SIDES } = diffio.Player;
    this.#recording.show(row, null);
    const sides = {};
    for (const side of SIDES) {
      const { media, type, kind, duration, numbers } = row[side] ?? {};
      sides[side] = media ? { url: media.href, type, kind, duration, lufs: numbers?.lufs } : null;
    }
    this.#recording.load(sides);
    const details = await new diffio.Parts().details({ id: "r1", details: row.details });
    const pictures = {};
    for (const side of SIDES) {
      const own = details?.[side];
      pictures[side] = own && row[side] ? {
        duration: row[side].duration, peaks: diffio.bytesOf(own.peaks), spectrogram: own.spectrogram.href,
      } : null;
    }
    if (!signal.aborted) this.#recording.showDetails(pictures, details?.words);
  }

  // -- views, faults, keys

  #view(name) {
    for (const each of diffio.Sandbox.#VIEWS) this.#get(each).hidden = each !== name;
    for (const button of document.querySelectorAll("[data-shows]")) {
      if (button.dataset.shows === name) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
    }
    this.#announce(name);
  }

  #showFaults(active) {
    const focused = document.activeElement?.dataset?.fault;
    this.#get("fault-count").textContent = active.length ? `${active.length} active` : "";
    this.#get("faults").replaceChildren(...diffio.faultsView(active, (message) => {
      this.#get("offline").textContent = message;
      this.#get("offline").hidden = false;
    }));
    if (focused) document.querySelector(`[data-fault="${focused}"]`)?.focus();
  }

  #step(by) {
    if (this.#list.items.length) this.#list.select(this.#list.selected + by);
  }

  #keys() {
    const { el } = diffio;
    const player = () => this.#recording?.player;
    const keys = new diffio.Keys([
      { keys: ["j"], label: "Next recording", run: () => this.#step(1) },
      { keys: ["k"], label: "Previous recording", run: () => this.#step(-1) },
      { keys: [" "], shown: ["Space"], label: "Play or pause", run: () => player()?.toggle() },
      { keys: ["x"], label: "Switch between before and after; the position stays", run: () => player()?.switch() },
      { keys: ["?"], label: "Show this help", run: () => this.#get("help").showModal() },
    ]);
    const close = el("button", { type: "button", className: "round", "aria-label": "Close", on: {
      click: () => this.#get("help").close() } }, "\u00d7");
    this.#get("help").append(
      el("div", { className: "dialog-head" }, el("h2", { id: "help-title" }, "Help"), close), ...keys.help());
    this.#get("open-help").addEventListener("click", () => this.#get("help").showModal());
  }

  #announce(text) {
    this.#get("live").textContent = text;
  }
};

diffio.sandbox = new diffio.Sandbox();
