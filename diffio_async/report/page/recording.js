"use strict";
// One recording: both versions to play and to see, their numbers, the transcript, and its mark.
globalThis.diffio ??= {};

/** View of one recording, used again for the next one. Emits `mark` with `detail`. */
diffio.Recording = class extends EventTarget {
  #scales;
  #player;
  #controls;
  #pictures;
  #name;
  #facts;
  #notices;
  #stage;
  #fault;
  #numbers;
  #words;
  #files;
  #transcript = null;
  #marks;

  /** `scales` is `{db, frequency, colors}`; `tools` are elements beside the name. */
  constructor(root, scales, tools = []) {
    super();
    const { el } = diffio;
    this.#scales = scales;
    this.#stage = el("div", { className: "stage" });
    this.#player = new diffio.Player(this.#stage);
    this.#controls = new diffio.Controls(this.#player);
    this.#pictures = new diffio.Pictures(this.#player, scales);
    this.#name = el("h2", { id: "name" });
    this.#facts = el("p", { className: "facts" });
    this.#notices = el("div", { className: "notices" });
    this.#fault = el("p", { className: "notice bad", role: "alert", hidden: true });
    this.#numbers = el("section", { "aria-label": "Numbers" });
    this.#words = el("section", { "aria-label": "Transcript" });
    this.#files = el("section", { "aria-label": "Files" });
    this.#marks = diffio.MARKS.map(({ mark, label, meaning }) =>
      el("button", {
        type: "button", className: `mark mark-${mark}`, title: `${meaning} (${mark})`, "aria-label": `Mark as ${meaning}`,
        on: { click: () => this.dispatchEvent(new CustomEvent("mark", { detail: mark })) },
      }, label));
    root.replaceChildren(
      el("div", { className: "title" }, el("div", { className: "names" }, this.#name, this.#facts), ...tools),
      this.#notices,
      el("div", { className: "deck" }, this.#controls.root, this.#controls.match,
        el("div", { className: "marks", role: "group", "aria-label": "Mark of the recording" }, ...this.#marks)),
      this.#fault, this.#stage, this.#pictures.root, this.#numbers, this.#words, this.#files);
    this.#player.addEventListener("time", () => this.#transcript?.follow());
    this.#player.addEventListener("fault", () => this.#showFault());
  }

  get player() {
    return this.#player;
  }

  /** Show the name, the facts and the numbers of a row, and nothing to play yet. */
  show(row, mark) {
    const { el } = diffio;
    this.#player.load({});
    this.#name.replaceChildren(...diffio.nameParts(row.name));
    this.#facts.replaceChildren(...diffio.facts(row));
    this.#notices.replaceChildren(
      ...(row.error ? [el("div", { className: "notice bad" }, el("p", {}, row.error.message),
        row.error.next ? el("p", { className: "next" }, row.error.next) : null)] : []),
      ...(row.warnings ?? []).map((text) => el("p", { className: "notice" }, text)));
    this.#fault.hidden = true;
    this.#stage.hidden = true;
    this.#pictures.show({});
    this.#showNumbers(row);
    this.#showFiles(row);
    this.#words.replaceChildren();
    this.#transcript = null;
    this.showMark(mark);
  }

  showMark(mark) {
    for (const [index, { mark: each }] of diffio.MARKS.entries()) {
      this.#marks[index].setAttribute("aria-pressed", each === mark);
    }
  }

  /** Add media: `{url, type, kind, duration, lufs}` or null for each side. */
  load(sides) {
    this.#player.load(sides);
    this.#stage.hidden = !Object.values(sides).some((side) => side?.kind === "video");
  }

  /** Add pictures (`{duration, peaks, spectrogram}` or null for each side) and words. */
  showDetails(sides, words) {
    this.#pictures.show(sides);
    if (!words?.length) return;
    this.#transcript = new diffio.Transcript(this.#player, words);
    this.#words.replaceChildren(diffio.el("h3", {}, "Transcript"), this.#transcript.root);
  }

  /** Report what could not be loaded. */
  fail(message) {
    this.#fault.textContent = message;
    this.#fault.hidden = false;
  }

  #showFault() {
    const { side, type } = this.#player.error;
    this.fail(`This browser cannot play the recording ${side} its restoration (${type}). ` +
      "If the report is a folder, keep its files where they were; otherwise try another browser.");
  }

  #showFiles(row) {
    const { el } = diffio;
    const known = diffio.Player.SIDES.filter((side) => row[side]?.path);
    const lines = known.map((side) => {
      const { path, copy, media } = row[side];
      const name = media?.href && !copy ? el("a", { href: media.href }, path) : path;
      return el("div", {}, el("dt", { className: side }, side === "before" ? "Before" : "After"),
        el("dd", {}, name, copy ? el("span", { className: "unit" }, " (an MP3 copy of its sound is played)") : null));
    });
    this.#files.replaceChildren(...(lines.length ? [el("h3", {}, "Files"), el("dl", {}, ...lines)] : []));
  }

  #showNumbers(row) {
    const table = diffio.numbersTable(row.before?.numbers, row.after?.numbers, this.#scales.db.min);
    this.#numbers.replaceChildren(...(table
      ? [diffio.el("h3", {}, "Numbers"), table, diffio.el("p", { className: "caveat" },
        "Levels describe a signal. They cannot say whether words are easier to understand, or whether a sound " +
        "is missing that should have been kept: listen to decide.")]
      : []));
  }
};

/** Return the folder and the file name of a path as two elements. */
diffio.nameParts = (name) => {
  const cut = Math.max(name.lastIndexOf("/"), name.lastIndexOf("\\")) + 1;
  return [
    cut ? diffio.el("bdi", { className: "folder" }, name.slice(0, cut)) : null,
    diffio.el("bdi", { className: "base" }, name.slice(cut)),
  ].filter(Boolean);
};

/** Return state, length, cost and model of a row as elements. */
diffio.facts = (row) => {
  const { el, format } = diffio;
  const billed = Number.isFinite(row.billed) ? row.billed : null;
  // The price list has a minimum, and files with the same content share a generation.
  const cost = billed === 0 ? "billed with another file" : billed && `at least ${format.number(billed, billed % 1 ? 1 : 0)} s billed`;
  const fact = (text, title) => (text ? el("span", { className: "fact", title }, text) : null);
  return [
    el("span", { className: `state state-${row.state}` }, row.state),
    fact(Number.isFinite(row.seconds) ? format.clock(row.seconds) : "", "Length"),
    fact(cost, "Cost"),
    fact(row.model, "Model"),
    fact(row.worker, "Worker that stored the result"),
    fact(Number.isFinite(row.gain) ? `${format.signed(row.gain)} dB speech above noise` : "", "Change"),
  ].filter(Boolean);
};
