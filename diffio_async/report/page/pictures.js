"use strict";
// Waveforms and spectrograms of both versions on one time axis.
globalThis.diffio ??= {};

{
  const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
  const SCALES = {
    mel: [mel, (value) => 700 * (10 ** (value / 2595) - 1)],
    log: [Math.log, Math.exp],
    linear: [(hertz) => hertz, (value) => value],
  };

  /** Return the places of frequencies on the axis (0 = top) and back. */
  const frequencyAxis = ({ scale, min, max }) => {
    const [forward, inverse] = SCALES[scale];
    const [low, high] = [forward(min), forward(max)];
    return {
      place: (hertz) => 1 - (forward(hertz) - low) / (high - low),
      hertz: (place) => inverse(high - place * (high - low)),
    };
  };

  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

  /** Return the height of a level in a waveform: the square root of the amplitude, so that quiet sound is seen. */
  const height = (decibels) => 10 ** (decibels / 40);

  /**
   * Draw peaks (one byte per column, linear in dB) symmetrically to the middle of a canvas, on the left `share` of it.
   */
  diffio.drawPeaks = (canvas, peaks, { color, db, share = 1, clear = true }) => {
    const context = canvas.getContext("2d");
    const { width } = canvas;
    if (clear) context.clearRect(0, 0, width, canvas.height);
    if (!peaks?.length || !width) return;
    context.fillStyle = color;
    context.beginPath();
    const half = canvas.height / 2;
    const shown = width * share;
    const columns = Math.max(1, Math.min(peaks.length, Math.floor(shown)));
    const level = (column) => {
      const start = Math.floor((column * peaks.length) / columns);
      const end = Math.max(start + 1, Math.floor(((column + 1) * peaks.length) / columns));
      let highest = 0;
      for (let i = start; i < end; i++) highest = Math.max(highest, peaks[i]);
      return Math.max(0.5, highest && half * height(db.min * (1 - highest / 255)));
    };
    const levels = Array.from({ length: columns }, (_, column) => level(column));
    const x = (column) => ((column + 0.5) * shown) / columns;
    context.moveTo(0, half - levels[0]);
    for (let i = 0; i < columns; i++) context.lineTo(x(i), half - levels[i]);
    context.lineTo(shown, half - levels[columns - 1]);
    context.lineTo(shown, half + levels[columns - 1]);
    for (let i = columns - 1; i >= 0; i--) context.lineTo(x(i), half + levels[i]);
    context.lineTo(0, half + levels[0]);
    context.fill();
  };

  /** Give a canvas the pixels of its size on the screen. */
  diffio.fitCanvas = (canvas) => {
    const ratio = globalThis.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  };

  /** Return a custom property of the style sheet. */
  diffio.cssColor = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /**
   * Pictures of both versions. `scales` is `{db, frequency, colors}`; a click, or a drag, seeks.
   */
  diffio.Pictures = class {
    #scales;
    #axis;
    #player;
    #lanes;
    #playhead;
    #readout;
    #times;
    #waves = [];
    #duration = 0;

    constructor(player, scales) {
      const { el } = diffio;
      this.#player = player;
      this.#scales = scales;
      this.#axis = frequencyAxis(scales.frequency);
      this.#playhead = el("div", { className: "playhead" });
      this.#readout = el("div", { className: "readout", hidden: true });
      this.#lanes = el("div", { className: "lanes" });
      this.#times = el("div", { className: "times", "aria-hidden": "true" });
      this.root = el("figure", { className: "pictures" },
        el("div", { className: "plot" }, this.#lanes, this.#times),
        this.#legend());
      this.#lanes.addEventListener("pointerdown", (event) => this.#grab(event));
      this.#lanes.addEventListener("pointermove", (event) => this.#hover(event));
      this.#lanes.addEventListener("pointerleave", () => { this.#readout.hidden = true; });
      player.addEventListener("time", () => this.#move());
      player.addEventListener("change", () => {
        for (const lane of this.#lanes.querySelectorAll(".lane")) {
          lane.classList.toggle("active", lane.dataset.side === player.side);
        }
        this.#move();
      });
      new ResizeObserver(() => this.draw()).observe(this.#lanes);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }

    /** Show the given sides: `{duration, peaks, spectrogram}` (bytes and a URL, or null) for each. */
    show(sides) {
      const { el } = diffio;
      const known = diffio.Player.SIDES.filter((side) => sides[side]);
      this.#duration = Math.max(0, ...known.map((side) => sides[side].duration ?? 0));
      this.#waves = [];
      const lanes = known.filter((side) => sides[side].peaks).map((side) => {
        const canvas = el("canvas", { role: "img", "aria-label": `Waveform ${side} the restoration` });
        this.#waves.push({ canvas, side, ...sides[side] });
        return this.#lane(side, "wave", "Waveform", canvas, [["0 dB", 0], ["\u2212\u221e", 0.5]]);
      });
      lanes.push(...known.filter((side) => sides[side].spectrogram).map((side) => {
        const image = el("img", {
          src: sides[side].spectrogram, alt: `Spectrogram ${side} the restoration`, decoding: "async", draggable: false,
        });
        image.style.width = `${100 * this.#share(sides[side])}%`;
        return this.#lane(side, "spectrogram", "Spectrogram", image, this.#frequencies());
      }));
      this.#lanes.replaceChildren(...lanes, this.#playhead, this.#readout);
      this.root.hidden = lanes.length === 0;
      for (const lane of lanes) lane.classList.toggle("active", lane.dataset.side === this.#player.side);
      this.draw();
    }

    /** Draw the waveforms and the time axis for the present size and colours. */
    draw() {
      for (const { canvas, side, peaks, ...rest } of this.#waves) {
        diffio.fitCanvas(canvas);
        diffio.drawPeaks(canvas, peaks, {
          color: diffio.cssColor(`--${side}`), db: this.#scales.db, share: this.#share(rest),
        });
      }
      this.#drawTimes();
      this.#move();
    }

    #share({ duration }) {
      return this.#duration ? Math.min(1, (duration ?? this.#duration) / this.#duration) : 1;
    }

    #lane(side, type, label, content, ticks) {
      const { el } = diffio;
      const scale = el("div", { className: "scale", "aria-hidden": "true" });
      for (const [text, place] of ticks) {
        const tick = el("span", {}, text);
        tick.style.top = `${place * 100}%`;
        scale.append(tick);
      }
      const lane = el("div", { className: `lane ${type}` }, scale, el("div", { className: "canvas" }, content),
        el("span", { className: `tag ${side}`, "aria-hidden": "true" }, side === "before" ? "Before" : "After"));
      lane.dataset.side = side;
      lane.dataset.label = label;
      return lane;
    }

    #frequencies() {
      const { min, max } = this.#scales.frequency;
      const ticks = [];
      for (const hertz of [100, 300, 1000, 3000, 8000, 16000]) {
        if (hertz < min || hertz > max) continue;
        const place = this.#axis.place(hertz);
        if (place > 0.04 && place < 0.96) ticks.push([diffio.format.hertz(hertz), place]);
      }
      return ticks;
    }

    #legend() {
      const { el, format } = diffio;
      const { db, colors, frequency } = this.#scales;
      const bar = el("span", { className: "bar", "aria-hidden": "true" });
      bar.style.background = `linear-gradient(to right, ${colors.join(", ")})`;
      const scale = { mel: "mel", log: "logarithmic", linear: "linear" }[frequency.scale];
      return el("figcaption", {},
        el("span", { className: "key" }, `${format.number(db.min, 0)} dB`, bar, `${format.number(db.max, 0)} dB`),
        el("span", {}, `Both spectrograms have the same colours; their frequencies are on a ${scale} scale, ` +
          `${format.hertz(frequency.min)} to ${format.hertz(frequency.max)}. The height of a waveform is the square root of its peaks.`));
    }

    #drawTimes() {
      const width = this.#lanes.querySelector(".canvas")?.clientWidth ?? 0;
      if (!width || !this.#duration) {
        this.#times.replaceChildren();
        return;
      }
      const step = STEPS.find((each) => (each / this.#duration) * width >= 64) ?? 36_000;
      const ticks = [];
      // A label that would be cut off by the edge is left out.
      const end = this.#duration * (1 - (step < 1 ? 44 : 34) / width);
      for (let at = 0; at <= end; at += step) {
        const tick = diffio.el("span", {}, diffio.format.clock(at, step < 1));
        tick.style.left = `${(100 * at) / this.#duration}%`;
        ticks.push(tick);
      }
      this.#times.replaceChildren(...ticks);
    }

    #move() {
      const share = this.#duration ? Math.min(1, this.#player.position / this.#duration) : 0;
      this.#playhead.style.setProperty("--at", share);
    }

    #place(event) {
      const canvas = event.target.closest(".lane")?.querySelector(".canvas") ?? this.#lanes.querySelector(".canvas");
      const box = canvas.getBoundingClientRect();
      const x = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
      const y = Math.max(0, Math.min(1, (event.clientY - box.top) / box.height));
      return { seconds: x * this.#duration, x, y, lane: canvas.parentElement };
    }

    #grab(event) {
      if (event.button !== 0 || !this.#waves.length) return;
      this.#lanes.setPointerCapture(event.pointerId);
      this.#player.seek(this.#place(event).seconds);
    }

    #hover(event) {
      if (!this.#lanes.querySelector(".canvas")) return;
      const { seconds, x, y, lane } = this.#place(event);
      if (event.buttons & 1) this.#player.seek(seconds);
      const parts = [diffio.format.clock(seconds, true)];
      if (lane.classList.contains("spectrogram")) parts.push(diffio.format.hertz(this.#axis.hertz(y)));
      this.#readout.hidden = event.pointerType === "touch";
      this.#readout.textContent = parts.join(" \u00b7 ");
      this.#readout.style.setProperty("--at", x);
      this.#readout.style.top = `${event.clientY - this.#lanes.getBoundingClientRect().top}px`;
      this.#readout.classList.toggle("left", x > 0.8);
    }
  };
}
