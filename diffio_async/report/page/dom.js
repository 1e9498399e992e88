"use strict";
// Elements and numbers as text. Every string becomes a text node: nothing is parsed as HTML.
globalThis.diffio ??= {};

/** Create an element with properties (or attributes, where there is no property) and children. */
diffio.el = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    } else if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

/** Create an SVG element with attributes and children. */
diffio.svg = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

{
  const ICONS = {
    play: "M7 4.5v15l12-7.5z",
    pause: "M6 4.5h4.2v15H6zM13.8 4.5H18v15h-4.2z",
    previous: "M12 7.2 5.2 14l1.4 1.4 5.4-5.4 5.4 5.4 1.4-1.4z",
    next: "M12 16.8 5.2 10l1.4-1.4 5.4 5.4 5.4-5.4 1.4 1.4z",
    back: "M14.8 5.2 8 12l6.8 6.8 1.4-1.4L10.8 12l5.4-5.4z",
    ascending: "M11 20V7.8L6.4 12.4 5 11l7-7 7 7-1.4 1.4L13 7.8V20z",
    descending: "M11 4v12.2l-4.6-4.6L5 13l7 7 7-7-1.4-1.4-4.6 4.6V4z",
  };

  /** Create a decorative icon. */
  diffio.icon = (name) =>
    diffio.svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" },
      diffio.svg("path", { d: ICONS[name] }));

  const signed = (value, digits) => {
    if (value === 0) return "0";
    const text = Math.abs(value).toFixed(digits);
    if (Number(text) === 0) return text;
    return (value < 0 ? "\u2212" : "+") + text;
  };
  const plain = (value, digits) => signed(value, digits).replace("+", "");
  const two = (value) => String(value).padStart(2, "0");

  diffio.format = {
    /** A number with a real minus sign; `signed` has a plus as well. */
    number: (value, digits = 1) => plain(value, digits),
    signed: (value, digits = 1) => signed(value, digits),
    /** A position, e.g. 0:07 or 1:02:03; with `tenths` 0:07.4. */
    clock: (seconds, tenths = false) => {
      const whole = tenths ? Math.floor(seconds * 10 + 1e-6) / 10 : Math.round(seconds);
      const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
      const last = tenths ? s.toFixed(1).padStart(4, "0") : two(s);
      return h ? `${h}:${two(m)}:${last}` : `${m}:${last}`;
    },
    /** A total of seconds in words, e.g. 4 h 10 min. */
    total: (seconds) => {
      const minutes = Math.round(seconds / 60);
      if (minutes < 2) return `${Math.round(seconds)} s`;
      return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
    },
    hertz: (value) =>
      value < 1000 ? `${Math.round(value)} Hz` : `${+(value / 1000).toFixed(value < 1e4 ? 1 : 0)} kHz`,
    /** A count with its noun. */
    count: (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`,
  };
}
