"use strict";
// A list of any length of which only the visible rows exist as elements.
globalThis.diffio ??= {};

/**
 * A listbox with rows of one height. `create()` returns the element of a row, and `update(element, item)`
 * fills it; elements are used again for other rows while the list scrolls. Emits `select`.
 */
diffio.List = class extends EventTarget {
  static #MARGIN = 6;
  #root;
  #space;
  #height;
  #create;
  #update;
  #items = [];
  #rows = new Map();
  #spare = [];
  #selected = -1;
  #frame = 0;

  constructor(root, { label, height, create, update }) {
    super();
    this.#root = root;
    this.#height = height;
    this.#create = create;
    this.#update = update;
    this.#space = diffio.el("div", { className: "list-space", role: "presentation" });
    root.append(this.#space);
    root.tabIndex = 0;
    root.setAttribute("role", "listbox");
    root.setAttribute("aria-label", label);
    root.addEventListener("scroll", () => this.#later(), { passive: true });
    root.addEventListener("click", (event) => this.#clicked(event));
    root.addEventListener("keydown", (event) => this.#pressed(event));
    new ResizeObserver(() => this.#later()).observe(root);
  }

  get items() {
    return this.#items;
  }

  get selected() {
    return this.#selected;
  }

  /** Replace all items; the item that was selected stays selected if it is among them. */
  setItems(items) {
    const current = this.#items[this.#selected];
    this.#items = items;
    this.#selected = current === undefined ? -1 : items.indexOf(current);
    this.#space.style.height = `${items.length * this.#height}px`;
    for (const row of this.#rows.values()) this.#recycle(row);
    this.#rows.clear();
    this.#draw();
  }

  /** Draw the visible rows again, after the items have changed. */
  refresh() {
    for (const [index, row] of this.#rows) this.#fill(row, index);
  }

  /** Select a row and scroll it into view. */
  select(index, { quiet = false } = {}) {
    if (!this.#items.length) return;
    const wanted = Math.max(0, Math.min(this.#items.length - 1, index));
    const changed = wanted !== this.#selected;
    this.#selected = wanted;
    this.#reveal(wanted);
    this.#draw();
    this.refresh();
    if (changed && !quiet) this.dispatchEvent(new Event("select"));
  }

  #reveal(index) {
    const top = index * this.#height;
    const { scrollTop, clientHeight } = this.#root;
    if (top < scrollTop) this.#root.scrollTop = top;
    else if (top + this.#height > scrollTop + clientHeight) this.#root.scrollTop = top + this.#height - clientHeight;
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { scrollTop, clientHeight } = this.#root;
    const first = Math.max(0, Math.floor(scrollTop / this.#height) - diffio.List.#MARGIN);
    const last = Math.min(
      this.#items.length - 1,
      Math.ceil((scrollTop + clientHeight) / this.#height) + diffio.List.#MARGIN,
    );
    const needed = new Set();
    for (let index = first; index <= last; index++) needed.add(index);
    // The selected row always exists: assistive technology reads it through `aria-activedescendant`.
    if (this.#selected >= 0) needed.add(this.#selected);
    for (const [index, row] of this.#rows) {
      if (needed.has(index)) continue;
      this.#rows.delete(index);
      this.#recycle(row);
    }
    for (const index of needed) {
      if (this.#rows.has(index)) continue;
      const row = this.#spare.pop() ?? this.#newRow();
      row.hidden = false;
      this.#rows.set(index, row);
      this.#fill(row, index);
    }
    const active = this.#rows.get(this.#selected);
    if (active) this.#root.setAttribute("aria-activedescendant", active.id);
    else this.#root.removeAttribute("aria-activedescendant");
  }

  #newRow() {
    const row = this.#create();
    row.classList.add("list-row");
    row.setAttribute("role", "option");
    row.style.height = `${this.#height}px`;
    this.#space.append(row);
    return row;
  }

  #recycle(row) {
    row.hidden = true;
    row.removeAttribute("id");
    this.#spare.push(row);
  }

  #fill(row, index) {
    row.id = `row-${index}`;
    row.style.transform = `translateY(${index * this.#height}px)`;
    row.setAttribute("aria-setsize", this.#items.length);
    row.setAttribute("aria-posinset", index + 1);
    row.setAttribute("aria-selected", index === this.#selected);
    this.#update(row, this.#items[index]);
  }

  #clicked(event) {
    const row = event.target.closest(".list-row");
    if (row) {
      this.select(Number(row.id.slice("row-".length)));
      this.dispatchEvent(new Event("open"));
    }
  }

  #pressed(event) {
    const page = Math.max(1, Math.floor(this.#root.clientHeight / this.#height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && this.#selected >= 0) this.dispatchEvent(new Event("open"));
    else if (event.key in steps && !event.altKey && !event.ctrlKey && !event.metaKey) {
      this.select(this.#selected + steps[event.key]);
    } else return;
    event.preventDefault();
  }
};
