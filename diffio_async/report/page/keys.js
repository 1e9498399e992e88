"use strict";
// Keyboard shortcuts, and the dialog that lists them.
globalThis.diffio ??= {};

/**
 * Single-key shortcuts of the page. A shortcut is `{keys, label, run}`, with keys in lower case; `shown` replaces
 * the keys in the help.
 * They can be switched off, because speech input and some screen readers type letters.
 */
diffio.Keys = class {
  static #SETTING = "diffio-shortcuts";
  #shortcuts;
  #byKey = new Map();
  #off = false;

  constructor(shortcuts) {
    this.#shortcuts = shortcuts;
    for (const shortcut of shortcuts) for (const key of shortcut.keys) this.#byKey.set(key, shortcut);
    document.addEventListener("keydown", (event) => this.#pressed(event));
    // A click leaves the focus where it was, so that the space bar plays after it.
    document.addEventListener("mousedown", (event) => {
      if (event.target.closest("button")) event.preventDefault();
    });
  }

  get enabled() {
    try {
      return localStorage.getItem(diffio.Keys.#SETTING) !== "off";
    } catch {
      return true;
    }
  }

  set enabled(value) {
    try {
      localStorage.setItem(diffio.Keys.#SETTING, value ? "on" : "off");
    } catch {
      // The setting lasts as long as the page.
    }
    this.#off = !value;
  }

  /** Return the table of shortcuts and the switch, for the help dialog. */
  help() {
    const rows = this.#shortcuts.map(({ keys, shown = keys, label }) =>
      diffio.el("tr", {},
        diffio.el("th", { scope: "row" }, ...shown.map((key) => diffio.el("kbd", {}, key))),
        diffio.el("td", {}, label)));
    const toggle = diffio.el("input", { type: "checkbox", checked: this.enabled });
    toggle.addEventListener("change", () => { this.enabled = toggle.checked; });
    return [
      diffio.el("table", { className: "shortcuts" }, diffio.el("tbody", {}, ...rows)),
      diffio.el("label", { className: "check" }, toggle, "Use single-key shortcuts"),
    ];
  }

  #pressed(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.#off || !this.enabled) return;
    const target = event.target;
    if (document.querySelector("dialog[open]") || target.closest("select, textarea, [contenteditable]")) return;
    if (target.matches("input")) {
      const types = { checkbox: event.key !== " ", range: !/^(Arrow|Page|Home|End)/.test(event.key) };
      if (!types[target.type]) return;
    }
    if ((event.key === " " || event.key === "Enter") && target.closest("button, a, summary")) return;
    const key = event.key.toLowerCase();
    const shortcut = this.#byKey.get(key);
    if (!shortcut) return;
    event.preventDefault();
    shortcut.run(key);
  }
};
