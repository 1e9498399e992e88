"use strict";
// Two versions of a recording, played as one: the position stays when the side is switched.
globalThis.diffio ??= {};

/**
 * Player of a recording before and after its restoration.
 *
 * Both sides play at the same time and one of them is inaudible, so that switching is immediate. The louder side is
 * played at a lower volume by the difference of their loudness; nothing is amplified. Emits `change` (side, playing,
 * loudness, loaded), `time` and `fault` (`error`).
 */
diffio.Player = class extends EventTarget {
  static SIDES = ["before", "after"];
  static #MAX_DRIFT = 0.02;
  // Chromium plays an element that is muted, or has the volume 0, by another clock: it would be 60 ms away from the
  // other one. At -80 dB, both are within a few milliseconds.
  static #INAUDIBLE = 1e-4;
  #stage;
  #media = {};
  #sides = {};
  #chosen = "after";
  #side = "after";
  #playing = false;
  #matched = true;
  #position = 0;
  #aligned = 0;
  error = null;

  /** Videos are shown in `stage`. */
  constructor(stage) {
    super();
    this.#stage = stage;
  }

  /** Replace both sides: `{url, type, kind, duration, lufs}` or null. The side that was chosen stays. */
  load(sides) {
    this.unload();
    this.#sides = sides;
    for (const side of diffio.Player.SIDES) {
      if (sides[side]) this.#media[side] = this.#element(side, sides[side]);
    }
    this.#side = this.#media[this.#chosen] ? this.#chosen : this.sides[0] ?? this.#chosen;
    this.#apply();
    this.#changed();
  }

  /** Stop, and release both sides. */
  unload() {
    for (const media of Object.values(this.#media)) {
      media.pause();
      media.removeAttribute("src");
      media.load();
      media.remove();
    }
    this.#media = {};
    this.#sides = {};
    this.#position = 0;
    this.#playing = false;
    this.error = null;
  }

  get side() {
    return this.#side;
  }

  get playing() {
    return this.#playing;
  }

  get matched() {
    return this.#matched;
  }

  set matched(value) {
    this.#matched = value;
    this.#apply();
    this.#changed();
  }

  /** The loudness of after minus that of before in LU, or null if one of them is not known. */
  get difference() {
    const { before, after } = this.#sides;
    return Number.isFinite(before?.lufs) && Number.isFinite(after?.lufs) ? after.lufs - before.lufs : null;
  }

  get duration() {
    return Math.max(0, ...Object.values(this.#sides).map((side) => side?.duration ?? 0));
  }

  get position() {
    return this.#position;
  }

  /** The sides that can be played. */
  get sides() {
    return Object.keys(this.#media);
  }

  play() {
    const media = this.#media[this.#side];
    if (!media || this.error) return;
    if (this.#position >= (this.#sides[this.#side].duration ?? Infinity) - 0.05) this.seek(0);
    this.#playing = true;
    this.#aligned = performance.now();
    for (const [side, each] of Object.entries(this.#media)) {
      each.preload = "auto";
      this.#start(side, each);
    }
    this.#changed();
    this.#tick();
  }

  pause() {
    this.#playing = false;
    for (const media of Object.values(this.#media)) media.pause();
    this.seek(this.#position);
    this.#changed();
  }

  toggle() {
    if (this.#playing) this.pause();
    else this.play();
  }

  /** Play the given side, or the other one; the position stays. */
  switch(side = this.#side === "before" ? "after" : "before") {
    if (!this.#media[side] || side === this.#side) return;
    this.#side = this.#chosen = side;
    this.#apply();
    const media = this.#media[side];
    // Only when the alignment has had no time: usually both sides are at the same position already.
    if (Math.abs(media.currentTime - this.#position) > 0.1) media.currentTime = this.#position;
    if (this.#playing && media.paused) this.#start(side, media);
    this.#changed();
  }

  seek(seconds) {
    this.#position = Math.max(0, Math.min(seconds, this.duration));
    for (const [side, media] of Object.entries(this.#media)) {
      media.currentTime = Math.min(this.#position, this.#sides[side].duration ?? Infinity);
      if (this.#playing && media.paused) this.#start(side, media);
    }
    this.dispatchEvent(new Event("time"));
  }

  #element(side, source) {
    const media = document.createElement(source.kind === "video" ? "video" : "audio");
    media.preload = "metadata";
    media.playsInline = true;
    media.dataset.side = side;
    media.addEventListener("error", () => this.#failed(side, media));
    media.addEventListener("ended", () => { if (side === this.#side) this.pause(); });
    media.addEventListener("timeupdate", () => this.#align());
    media.src = source.url;
    this.#stage.append(media);
    return media;
  }

  #start(side, media) {
    media.play().catch((error) => {
      // A newer load, pause or seek interrupts this one; the `error` event reports what cannot be decoded.
      if (error.name === "NotAllowedError" && side === this.#side) this.pause();
    });
  }

  #failed(side, media) {
    if (this.#media[side] !== media) return;
    this.pause();
    this.error = { side, type: this.#sides[side].type };
    this.dispatchEvent(new Event("fault"));
  }

  #apply() {
    const difference = this.difference ?? 0;
    const louder = difference > 0 ? "after" : "before";
    for (const [side, media] of Object.entries(this.#media)) {
      const matched = this.#matched && side === louder ? 10 ** (-Math.abs(difference) / 20) : 1;
      const volume = side === this.#side ? matched : diffio.Player.#INAUDIBLE;
      media.volume = volume;
      // Some phones ignore the volume.
      media.muted = media.volume > volume && side !== this.#side;
      media.hidden = side !== this.#side;
    }
  }

  // The inaudible side is moved to the position of the other one.
  #align() {
    const media = this.#media[this.#side];
    const other = this.#media[this.#side === "before" ? "after" : "before"];
    const now = performance.now();
    if (!this.#playing || !other || other.seeking || other.ended || media.seeking || now - this.#aligned < 400) return;
    if (Math.abs(other.currentTime - media.currentTime) < diffio.Player.#MAX_DRIFT) return;
    this.#aligned = now;
    other.currentTime = media.currentTime;
  }

  #tick() {
    if (!this.#playing) return;
    const media = this.#media[this.#side];
    if (!media.seeking) {
      this.#position = media.currentTime;
      this.dispatchEvent(new Event("time"));
    }
    requestAnimationFrame(() => this.#tick());
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
};

/** Controls of a player: `root` has play, side and position, `match` the choice to match the loudness. */
diffio.Controls = class {
  constructor(player) {
    const { el, icon, format } = diffio;
    this.player = player;
    this.play = el("button", { type: "button", className: "play", on: { click: () => player.toggle() } });
    this.sides = diffio.Player.SIDES.map((side) =>
      el("button", {
        type: "button", className: `side ${side}`, on: { click: () => player.switch(side) },
      }, side === "before" ? "Before" : "After"));
    this.seek = el("input", {
      type: "range", className: "seek", min: 0, step: 0.01, "aria-label": "Position",
      on: { input: () => player.seek(Number(this.seek.value)) },
    });
    this.clock = el("span", { className: "clock" });
    this.checkbox = el("input", {
      type: "checkbox", on: { change: () => { player.matched = this.checkbox.checked; } },
    });
    this.loudness = el("span", { className: "loudness" });
    this.match = el("label", { className: "check" }, this.checkbox, el("span", {}, "Match loudness"), this.loudness);
    this.root = el("div", { className: "controls", role: "group", "aria-label": "Player" },
      this.play,
      el("div", { className: "sides", role: "group", "aria-label": "Version that is played" }, ...this.sides),
      el("div", { className: "timeline" }, this.seek, this.clock));
    player.addEventListener("change", () => {
      const empty = player.sides.length === 0;
      this.play.replaceChildren(icon(player.playing ? "pause" : "play"));
      this.play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
      this.play.disabled = empty;
      for (const [index, side] of diffio.Player.SIDES.entries()) {
        this.sides[index].disabled = !player.sides.includes(side);
        this.sides[index].setAttribute("aria-pressed", player.side === side);
      }
      this.seek.max = player.duration;
      this.seek.disabled = empty;
      this.checkbox.checked = player.matched && player.difference !== null;
      this.checkbox.disabled = player.difference === null;
      this.loudness.textContent = this.#loudness();
      this.#time();
    });
    player.addEventListener("time", () => this.#time());
    this.format = format;
  }

  #loudness() {
    const { difference, sides, matched } = this.player;
    if (sides.length < 2) return "";
    if (difference === null) return "not possible: the loudness of one version is not known";
    if (Math.abs(difference) < 0.05) return "both are equally loud";
    const louder = difference > 0 ? "After" : "Before";
    const amount = `${this.format.number(Math.abs(difference))} dB`;
    return matched ? `${louder} is played ${amount} lower` : `${louder} is ${amount} louder`;
  }

  #time() {
    const { position, duration } = this.player;
    const { clock } = this.format;
    this.seek.value = position;
    this.seek.style.setProperty("--played", `${duration ? (100 * position) / duration : 0}%`);
    this.seek.setAttribute("aria-valuetext", `${clock(position)} of ${clock(duration)}`);
    this.clock.textContent = `${clock(position, true)} / ${clock(duration)}`;
  }
};
