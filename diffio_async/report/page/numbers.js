"use strict";
// Levels of both versions, with the meaning of each.
globalThis.diffio ??= {};

diffio.NUMBERS = [
  {
    key: "noise_floor", label: "Noise floor", unit: "dBFS", better: -1, bar: true,
    meaning: "Level in the pauses. Near \u221290 a pause is digital silence.",
  },
  {
    key: "speech_level", label: "Speech level", unit: "dBFS", bar: true,
    meaning: "Level while somebody speaks.",
  },
  {
    key: "distance", label: "Speech above noise", unit: "dB", better: 1,
    meaning: "The difference of the two levels: how far speech stands out.",
    value: ({ noise_floor: noise, speech_level: speech }) =>
      (Number.isFinite(noise) && Number.isFinite(speech) ? speech - noise : undefined),
  },
  {
    key: "lufs", label: "Loudness", unit: "LUFS", bar: true,
    meaning: "Loudness of the whole recording (EBU R 128). The player is matched by it.",
  },
  {
    key: "true_peak", label: "True peak", unit: "dBTP", bar: true,
    meaning: "Highest level between samples. Above \u22121 a lossy copy may be distorted.",
  },
  {
    key: "clipped", label: "Clipped samples", unit: "%", digits: 3, better: -1, scale: 100,
    meaning: "Share of samples at full scale. They sound harsh.",
  },
];

/**
 * Return a table of the numbers of both sides (`{noise_floor, …}` or null), or null if there are none. Levels are
 * drawn on a scale from `min` dB to 0 dB.
 */
diffio.numbersTable = (before, after, min) => {
  const { el, svg, format } = diffio;
  const value = ({ key, scale = 1, value: derive }, numbers) => {
    const found = derive ? derive(numbers ?? {}) : numbers?.[key];
    return Number.isFinite(found) ? found * scale : null;
  };
  const bar = (from, to) => {
    const at = (level) => 6 + 108 * Math.max(0, Math.min(1, 1 - level / min));
    const dot = (level, side) => svg("circle", { cx: at(level), cy: 8, r: side === "before" ? 4.5 : 4, class: side });
    const marks = [];
    if (from !== null && to !== null) marks.push(svg("line", { x1: at(from), x2: at(to), y1: 8, y2: 8, class: "span" }));
    if (from !== null) marks.push(dot(from, "before"));
    if (to !== null) marks.push(dot(to, "after"));
    return svg("svg", { viewBox: "0 0 120 16", class: "level", "aria-hidden": "true" },
      svg("line", { x1: 6, x2: 114, y1: 8, y2: 8, class: "track" }), ...marks);
  };
  const rows = [];
  for (const number of diffio.NUMBERS) {
    const [from, to] = [value(number, before), value(number, after)];
    if (from === null && to === null) continue;
    const { digits = 1, unit, better } = number;
    const cell = (each) => el("td", { className: "figure" }, each === null ? "\u2013" : format.number(each, digits));
    const change = from !== null && to !== null ? to - from : null;
    const clearly = change !== null && Math.abs(change) >= 0.5 / 10 ** digits;
    const verdict = better && clearly ? (change * better > 0 ? "better" : "worse") : "";
    rows.push(el("tr", {},
      el("th", { scope: "row" }, number.label, el("span", { className: "unit" }, ` ${unit}`),
        el("span", { className: "meaning" }, number.meaning)),
      cell(from), cell(to),
      el("td", { className: `figure change ${verdict}` },
        change === null ? "" : format.signed(change, digits),
        verdict ? el("span", { className: "unseen" }, ` (${verdict})`) : null),
      el("td", { className: "picture" }, number.bar ? bar(from, to) : null)));
  }
  if (!rows.length) return null;
  const heading = (text, className) => el("th", { scope: "col", className }, text);
  return el("table", { className: "numbers" },
    el("thead", {}, el("tr", {},
      heading("Measure"), heading("Before", "figure before"), heading("After", "figure after"),
      heading("Change", "figure"), el("td", { className: "picture range" },
        el("span", {}, format.number(min, 0)), el("span", {}, "0 dB")))),
    el("tbody", {}, ...rows));
};
