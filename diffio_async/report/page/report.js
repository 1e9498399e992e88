"use strict";
// The report: list, filters, marks and the recording that is selected.
globalThis.diffio ??= {};

diffio.Report = class {
  static #ROW_HEIGHT = 60;
  static #THUMB = [92, 38];
  static #SORTS = [
    { key: "order", label: "As listed", of: (row) => row.order, down: false },
    { key: "gain", label: "Gain", of: (row) => row.gain, down: true },
    { key: "seconds", label: "Length", of: (row) => row.seconds, down: true },
    { key: "state", label: "State", of: (row) => row.state, down: false },
    { key: "name", label: "Name", of: (row) => row.sorted, down: false },
  ];
  #data;
  #rows;
  #marks;
  #parts = new diffio.Parts();
  #list;
  #recording;
  #reversed = false;
  #shown = 0;
  // Read once: reading a style while rows are filled would compute the style of the page for each of them.
  #colors;

  constructor(data) {
    this.#data = data;
    const collator = new Intl.Collator("en", { numeric: true });
    this.#rows = data.rows;
    const byName = [...this.#rows].sort((a, b) => collator.compare(a.name, b.name));
    for (const [index, row] of this.#rows.entries()) row.order = index;
    for (const [index, row] of byName.entries()) row.sorted = index;
    this.#marks = new diffio.Marks(data.key);
    this.#list = new diffio.List(this.#get("list"), {
      label: "Recordings", height: diffio.Report.#ROW_HEIGHT,
      create: () => this.#createRow(), update: (element, row) => this.#updateRow(element, row),
    });
    this.#recording = new diffio.Recording(this.#get("recording"), data, this.#steps());
    this.#readColors();
    this.#heading();
    this.#filters();
    this.#keys();
    this.#connect();
    document.body.classList.toggle("single", this.#rows.length < 2);
    this.#list.setItems(this.#wanted());
    const asked = location.hash.slice(1);
    const index = this.#list.items.findIndex((row) => row.id === asked);
    if (index >= 0 || this.#rows.length === 1) document.body.dataset.view = "recording";
    this.#list.select(Math.max(0, index));
  }

  get #row() {
    return this.#list.items[this.#list.selected];
  }

  #get(id) {
    return document.getElementById(id);
  }

  #connect() {
    this.#list.addEventListener("select", () => this.#show());
    this.#list.addEventListener("open", () => {
      document.body.dataset.view = "recording";
      // On a narrow screen the list, which had the focus, is not visible any more.
      if (!this.#get("list").offsetParent) this.#get("recording").focus();
    });
    this.#recording.addEventListener("mark", (event) => this.#mark(event.detail));
    this.#marks.addEventListener("change", () => {
      this.#list.refresh();
      this.#recording.showMark(this.#row ? this.#marks.get(this.#row.id) : null);
      this.#countMarks();
    });
    this.#get("export-csv").addEventListener("click", () =>
      diffio.download("marks.csv", "text/csv;charset=utf-8", this.#marks.csv(this.#rows)));
    this.#get("export-json").addEventListener("click", () =>
      diffio.download("marks.json", "application/json", this.#marks.json(this.#rows, this.#data.key)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#readColors();
      this.#list.refresh();
    });
  }

  #readColors() {
    this.#colors = { before: diffio.cssColor("--before-soft"), after: diffio.cssColor("--after") };
  }

  // -- what is at the top

  #heading() {
    const { format } = diffio;
    const { title, made } = this.#data;
    const single = this.#rows.length === 1;
    this.#get("title").textContent = single ? "Restoration report" : title;
    this.#get("eyebrow").hidden = single;
    const states = Map.groupBy
      ? Map.groupBy(this.#rows, (row) => row.state)
      : this.#rows.reduce((map, row) => map.set(row.state, [...(map.get(row.state) ?? []), row]), new Map());
    const gains = this.#rows.map((row) => row.gain).filter(Number.isFinite).sort((a, b) => a - b);
    const parts = [format.count(this.#rows.length, "recording")];
    if (states.size > 1) for (const [state, rows] of states) parts.push(`${rows.length.toLocaleString("en")} ${state}`);
    parts.push(format.total(this.#rows.reduce((sum, row) => sum + (row.seconds ?? 0), 0)));
    if (gains.length > 1) parts.push(`median gain ${format.signed(gains[gains.length >> 1])} dB`);
    const time = new Date(made);
    parts.push(`made ${time.toLocaleDateString("en-GB", { dateStyle: "medium" })}`);
    this.#get("notes").replaceChildren(...(this.#data.notes ?? []).map((text) => diffio.el("p", { className: "notice" }, text)));
    this.#get("summary").textContent = parts.join(" \u00b7 ");
    this.#get("summary").title = `made ${time.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" })}`;
    this.#countMarks();
  }

  #countMarks() {
    const { count, stored } = this.#marks;
    const note = stored ? "" : " (not stored by this browser: export before you close the page)";
    this.#get("marked").textContent = `${count.toLocaleString("en")} of ${this.#rows.length.toLocaleString("en")} marked${note}`;
    for (const id of ["export-csv", "export-json"]) this.#get(id).disabled = count === 0;
  }

  // -- filters and order

  #filters() {
    const { el, icon } = diffio;
    const fill = (id, options) => {
      this.#get(id).replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
      this.#get(id).addEventListener("change", () => this.#filter());
    };
    const states = [...new Set(this.#rows.map((row) => row.state))].sort();
    fill("filter-state", [["", "all"], ...states.map((state) => [state, state])]);
    fill("filter-mark", [["", "any"], ["none", "no mark"], ["some", "any mark"],
      ...diffio.MARKS.map(({ mark, meaning }) => [mark, meaning])]);
    fill("sort-by", diffio.Report.#SORTS.map(({ key, label }) => [key, label]));
    const field = this.#get("filter-text");
    field.addEventListener("input", () => this.#filter());
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#get("list").focus();
      if (event.key !== "Escape") return;
      event.preventDefault();
      field.value = "";
      field.blur();
      this.#filter();
    });
    field.form.addEventListener("submit", (event) => event.preventDefault());
    const direction = this.#get("sort-direction");
    const drawn = () => direction.replaceChildren(icon(this.#sort.down !== this.#reversed ? "descending" : "ascending"));
    direction.addEventListener("click", () => {
      this.#reversed = !this.#reversed;
      direction.setAttribute("aria-pressed", this.#reversed);
      drawn();
      this.#filter();
    });
    this.#get("sort-by").addEventListener("change", drawn);
    drawn();
  }

  get #sort() {
    return diffio.Report.#SORTS.find(({ key }) => key === this.#get("sort-by").value);
  }

  #wanted() {
    const text = this.#get("filter-text").value.trim().toLowerCase();
    const [state, mark] = [this.#get("filter-state").value, this.#get("filter-mark").value];
    const marked = (row) => {
      const own = this.#marks.get(row.id);
      return mark === "" || (mark === "none" ? own === null : mark === "some" ? own !== null : own === mark);
    };
    const rows = this.#rows.filter((row) =>
      (!text || row.name.toLowerCase().includes(text)) && (!state || row.state === state) && marked(row));
    const { of, down } = this.#sort;
    const sign = down !== this.#reversed ? -1 : 1;
    const missing = (value) => value === null || value === undefined;
    // What is not known is at the end in both directions.
    return rows.sort((a, b) => {
      const [x, y] = [of(a), of(b)];
      if (missing(x) || missing(y)) return missing(x) - missing(y) || a.order - b.order;
      return sign * (x < y ? -1 : x > y ? 1 : 0) || a.order - b.order;
    });
  }

  #filter() {
    const current = this.#row;
    this.#list.setItems(this.#wanted());
    if (this.#list.selected >= 0) this.#list.select(this.#list.selected);
    else if (this.#list.items.length) this.#list.select(0);
    if (!this.#row !== !current) this.#show();
    const { length } = this.#list.items;
    const all = length === this.#rows.length;
    this.#get("shown").textContent = all ? "" : `${length.toLocaleString("en")} of ${this.#rows.length.toLocaleString("en")} shown`;
    this.#announce(length ? diffio.format.count(length, "recording") : "No recording has this name, state and mark");
  }

  // -- the list

  #createRow() {
    const { el } = diffio;
    const [width, height] = diffio.Report.#THUMB.map((size) => size * (globalThis.devicePixelRatio || 1));
    return el("div", {},
      el("canvas", { className: "thumb", width, height, "aria-hidden": "true" }),
      el("span", { className: "row-name" }),
      el("span", { className: "row-facts" }),
      el("span", { className: "row-gain" }),
      el("span", { className: "row-mark" }));
  }

  #updateRow(element, row) {
    const { format } = diffio;
    const [thumb, name, facts, gain, chip] = element.children;
    const mark = this.#marks.get(row.id);
    if (element.shown !== row) {
      element.title = row.name;
      name.replaceChildren(...diffio.nameParts(row.name).slice(-1));
      facts.replaceChildren(...diffio.facts({ ...row, billed: null, model: null, worker: null, gain: null }),
        ...diffio.nameParts(row.name).slice(0, -1));
      gain.replaceChildren(...(Number.isFinite(row.gain)
        ? [format.signed(row.gain), diffio.el("span", { className: "unit" }, " dB")] : []));
    }
    if (element.shown !== row || element.colors !== this.#colors) this.#drawThumb(thumb, row);
    [element.shown, element.colors] = [row, this.#colors];
    chip.textContent = mark === "g" ? "\u2713" : mark === "b" ? "\u2717" : mark ?? "";
    chip.className = `row-mark ${mark ? `mark-${mark}` : ""}`;
    if (mark) chip.setAttribute("aria-label", `marked ${diffio.MARKS.find((each) => each.mark === mark).meaning}`);
    else chip.removeAttribute("aria-label");
  }

  #drawThumb(canvas, row) {
    const longest = Math.max(row.before?.duration ?? 0, row.after?.duration ?? 0);
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    for (const side of diffio.Player.SIDES) {
      if (!row[side]?.peaks) continue;
      diffio.drawPeaks(canvas, diffio.bytesOf(row[side].peaks), {
        color: this.#colors[side], db: this.#data.db,
        share: longest ? row[side].duration / longest : 1, clear: false,
      });
    }
  }

  // -- the recording

  #steps() {
    const { el, icon } = diffio;
    const button = (className, label, name, run) =>
      el("button", { type: "button", className, title: label, "aria-label": label, on: { click: run } }, icon(name));
    return [el("div", { className: "steps" },
      button("back", "All recordings", "back", () => this.#back()),
      button("step", "Previous recording (k)", "previous", () => this.#step(-1)),
      button("step", "Next recording (j)", "next", () => this.#step(1)))];
  }

  #back() {
    document.body.dataset.view = "list";
    this.#get("list").focus();
    this.#list.select(this.#list.selected);
  }

  #step(by) {
    if (this.#list.items.length) this.#list.select(this.#list.selected + by);
  }

  #show() {
    const row = this.#row;
    const turn = ++this.#shown;
    document.body.classList.toggle("empty", !row);
    if (!row) {
      this.#recording.player.unload();
      return;
    }
    this.#recording.show(row, this.#marks.get(row.id));
    this.#get("recording").scrollTop = 0;
    // The frame of a notebook has no address.
    if (location.protocol !== "about:") history.replaceState(null, "", `#${row.id}`);
    this.#announceRow(row);
    // Media and pictures wait until the selection rests, so that stepping through a list loads nothing.
    setTimeout(() => {
      if (turn === this.#shown) this.#load(row, turn);
    }, 120);
  }

  async #load(row, turn) {
    this.#parts.release();
    try {
      const sides = {};
      for (const side of diffio.Player.SIDES) {
        const { media, type, kind, duration, numbers } = row[side] ?? {};
        sides[side] = media ? { url: await this.#parts.url(media, type), type, kind, duration, lufs: numbers?.lufs } : null;
      }
      if (turn !== this.#shown) return;
      this.#recording.load(sides);
      const details = await this.#parts.details(row);
      const pictures = {};
      for (const side of diffio.Player.SIDES) {
        const own = details?.[side];
        pictures[side] = own && row[side] ? {
          duration: row[side].duration, peaks: own.peaks ? diffio.bytesOf(own.peaks) : null,
          spectrogram: await this.#parts.url(own.spectrogram, "image/png"),
        } : null;
      }
      if (turn === this.#shown) this.#recording.showDetails(pictures, details?.words);
    } catch (error) {
      if (turn === this.#shown) this.#recording.fail(error.message);
    }
  }

  // -- marks, keys, announcements

  #mark(mark) {
    if (!this.#row) return;
    const own = this.#marks.get(this.#row.id) === mark ? null : mark;
    this.#marks.set(this.#row.id, own);
    this.#announce(own ? `Marked as ${diffio.MARKS.find((each) => each.mark === own).meaning}` : "Mark removed");
  }

  #announceRow(row) {
    const mark = diffio.MARKS.find((each) => each.mark === this.#marks.get(row.id));
    const parts = [`${this.#list.selected + 1} of ${this.#list.items.length}`, row.name, row.state];
    if (Number.isFinite(row.gain)) parts.push(`gain ${diffio.format.signed(row.gain)} dB`);
    if (mark) parts.push(`marked as ${mark.meaning}`);
    this.#announce(parts.join(", "));
  }

  #announce(text) {
    this.#get("live").textContent = text;
  }

  #keys() {
    const { el } = diffio;
    const player = this.#recording.player;
    const keys = new diffio.Keys([
      { keys: ["j"], label: "Next recording", run: () => this.#step(1) },
      { keys: ["k"], label: "Previous recording", run: () => this.#step(-1) },
      { keys: [" "], shown: ["Space"], label: "Play or pause", run: () => player.toggle() },
      { keys: ["x"], label: "Switch between before and after; the position stays", run: () => player.switch() },
      { keys: ["arrowleft", "arrowright"], shown: ["\u2190", "\u2192"], label: "Back or forward by 2 seconds",
        run: (key) => player.seek(player.position + (key === "arrowleft" ? -2 : 2)) },
      { keys: ["g"], label: "Mark as good (press again to remove a mark)", run: (key) => this.#mark(key) },
      { keys: ["b"], label: "Mark as bad: restore again", run: (key) => this.#mark(key) },
      { keys: ["1", "2", "3", "4", "5"], shown: ["1 \u2026 5"], label: "Mark with 1 (worst) to 5 (best)", run: (key) => this.#mark(key) },
      { keys: ["/"], label: "Filter by name", run: () => this.#get("filter-text").focus() },
      { keys: ["?"], label: "Show this help", run: () => this.#help() },
    ]);
    const close = el("button", { type: "button", className: "round", "aria-label": "Close", on: {
      click: () => this.#get("help").close() } }, "\u00d7");
    this.#get("help").append(
      el("div", { className: "dialog-head" }, el("h2", { id: "help-title" }, "Help"), close),
      ...keys.help(),
      el("h3", {}, "Marks"),
      el("p", {}, "Marks are kept by this browser. Exported as CSV or JSON, those marked as bad, 1 or 2 select the recordings " +
        "of a batch that are restored again, which is billed:"),
      el("pre", { tabIndex: 0 }, "diffio-async batch retry FOLDER --from marks.csv"),
      el("h3", {}, "Numbers"),
      el("p", {}, "Gain is the change of speech above noise: how much further speech stands out after the restoration."));
    this.#get("open-help").addEventListener("click", () => this.#help());
  }

  #help() {
    this.#get("help").showModal();
  }
};

diffio.report = new diffio.Report(JSON.parse(document.getElementById("report-data").textContent));
