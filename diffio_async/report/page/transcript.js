"use strict";
// The words of a recording; a word jumps to its time.
globalThis.diffio ??= {};

/** Transcript with the word that is played highlighted. `words` are `[word, start, end]`. */
diffio.Transcript = class {
  static #PAUSE = 1.2;
  static #LONGEST = 60;
  #player;
  #words;
  #elements = [];
  #current = -1;

  constructor(player, words) {
    this.#player = player;
    this.#words = words;
    this.root = diffio.el("div", { className: "words", role: "group", "aria-label": "Words, in the order of time" });
    this.root.append(...this.#paragraphs());
    // One stop for the tab key; the arrow keys move between the words.
    if (this.#elements.length) this.#elements[0].tabIndex = 0;
    this.root.addEventListener("click", (event) => {
      const word = event.target.closest("button");
      if (word) this.#player.seek(this.#words[this.#elements.indexOf(word)][1]);
    });
    this.root.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /** Highlight the word at the position of the player. */
  follow() {
    const at = this.#player.position + 0.02;
    let [low, high] = [0, this.#words.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#words[middle][1] <= at) low = middle + 1;
      else high = middle;
    }
    const index = low > 0 && at < this.#words[low - 1][2] ? low - 1 : -1;
    if (index === this.#current) return;
    this.#elements[this.#current]?.removeAttribute("aria-current");
    this.#elements[index]?.setAttribute("aria-current", "true");
    this.#current = index;
  }

  #paragraphs() {
    const { el, format } = diffio;
    const paragraphs = [];
    let [text, ended] = [null, -Infinity];
    for (const [word, start, end] of this.#words) {
      if (!text || start - ended > diffio.Transcript.#PAUSE || text.childElementCount >= diffio.Transcript.#LONGEST) {
        text = el("p", {});
        paragraphs.push(el("div", { className: "said" }, el("span", { className: "clock" }, format.clock(start)), text));
      }
      const button = el("button", { type: "button", tabIndex: -1, title: format.clock(start, true) }, word);
      this.#elements.push(button);
      text.append(button, " ");
      ended = end;
    }
    return paragraphs;
  }

  #pressed(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = this.#elements.indexOf(event.target);
    const next = this.#elements[Math.max(0, Math.min(this.#elements.length - 1, index + steps[event.key]))];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    event.preventDefault();
    event.stopPropagation();
  }
};
