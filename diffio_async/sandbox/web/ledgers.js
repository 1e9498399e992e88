"use strict";
// Tables of the sandbox: requests with complaints, webhook deliveries, and faults that can be switched.
globalThis.diffio ??= {};

{
  const { el } = diffio;
  const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
  const section = (heading, text, ...children) =>
    el("section", {}, el("h2", {}, heading), el("p", {}, text), ...children);

  /** A table of rows, each a list of cells; a cell is text, or `[text, class]`. */
  const table = (columns, rows) =>
    el("table", { className: "rows" },
      el("thead", {}, el("tr", {}, ...columns.map(([label, className]) => el("th", { scope: "col", className }, label)))),
      el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell, index) => {
        const [text, className = ""] = Array.isArray(cell) ? cell : [cell];
        return el("td", { className: `${columns[index][1] ?? ""} ${className}` }, text);
      })))));

  /** Return the elements of the view of requests. */
  diffio.requestsView = ({ requests, violations }) => [
    violations.length ? section("Complaints", "What clients did against the contract of the API, newest first.",
      el("ul", { className: "complaints" }, ...violations.map((text) => el("li", {}, text)))) : null,
    section("Requests", requests.length ? "The newest first. Requests of this page are not listed." : "No client has sent a request.",
      requests.length ? table(
        [["Time", "wide"], ["Origin", "wide"], ["Request", "path"], ["Status", "figure"], ["Fault"], ["Time in ms", "figure"], ["Received", "figure wide"]],
        requests.map((each) => [
          time(each.at), each.origin, `${each.method} ${each.path}`,
          [each.status === null ? "\u2013" : String(each.status), each.status >= 400 ? "bad" : ""],
          [each.fault ?? "", "bad"], each.milliseconds === null ? "" : String(each.milliseconds),
          each.bytes ? `${each.bytes.toLocaleString("en")} B` : "",
        ])) : null),
  ];

  /** Return the elements of the view of webhook deliveries: a row for each message, with its attempts. */
  diffio.deliveriesView = (attempts) => {
    const messages = new Map();
    for (const attempt of attempts) {
      if (!messages.has(attempt.message)) messages.set(attempt.message, []);
      messages.get(attempt.message).push(attempt);
    }
    const result = ({ status, fault, refused }) =>
      (refused ? `not sent: ${refused}` : status === null ? "no response" : String(status)) + (fault ? ` (${fault})` : "");
    const text = attempts.length ? "Events that were sent to webhooks, the newest first." :
      "No webhook is configured, or no event was sent. Configure one: diffio-async webhooks configure URL";
    return [section("Webhook deliveries", text, attempts.length ? table(
      [["Time", "wide"], ["Event"], ["URL", "path"], ["Attempts", "figure"], ["Results, first to last"]],
      [...messages.values()].map((all) => [
        time(all[0].at), all[0].type, all[0].url, String(all.length),
        [all.map(result).reverse().join(", "), all[0].status >= 200 && all[0].status < 300 ? "" : "bad"],
      ])) : null)];
  };

  const NO_LIMIT = null;
  const SWITCHES = [
    { label: "Rate limit", meaning: "One in three API requests gets 429 with Retry-After: 1.",
      fault: { origin: "api", rate: 0.33, times: NO_LIMIT, action: { respond_with: { status: 429, headers: { "Retry-After": "1" }, json: { error: "too many requests" } } } } },
    { label: "Server errors", meaning: "One in five API requests gets 503.",
      fault: { origin: "api", rate: 0.2, times: NO_LIMIT, action: { respond_with: { status: 503, json: { error: "unavailable" } } } } },
    { label: "Slow responses", meaning: "Each request is handled after 2 seconds.",
      fault: { times: NO_LIMIT, action: { delay: { seconds: 2 } } } },
    { label: "Lost responses", meaning: "Generations are created and billed, but their responses are lost.",
      fault: { origin: "api", path: "*-generation", rate: 0.5, times: NO_LIMIT, action: "lose_response" } },
    { label: "Dropped connections", meaning: "One in five requests is dropped without a response.",
      fault: { rate: 0.2, times: NO_LIMIT, action: "drop" } },
    { label: "Truncated downloads", meaning: "Half of the downloads end in the middle.",
      fault: { origin: "media", method: "GET", rate: 0.5, times: NO_LIMIT, action: { truncate: { fraction: 0.5 } } } },
    { label: "Duplicate events", meaning: "Each webhook event is delivered twice.",
      fault: { origin: "webhooks", times: NO_LIMIT, action: { duplicate: { copies: 1 } } } },
    { label: "Failing receiver", meaning: "Webhook receivers seem to respond 500.",
      fault: { origin: "webhooks", times: NO_LIMIT, action: { respond_with: { status: 500 } } } },
  ];

  const sameFault = (active, { origin = null, method = null, path = "*", rate = 1, times, action }) => {
    const name = typeof action === "string" ? action : Object.keys(action)[0];
    return active.action === name && active.origin === origin && active.method === method &&
      active.path === path && active.rate === rate && active.times === times;
  };

  /** Return the elements of the view of faults. `failed` receives the message of a change that was refused. */
  diffio.faultsView = (active, failed) => {
    const change = (body) => diffio.post("page/faults", JSON.stringify(body), { "Content-Type": "application/json" })
      .catch((error) => failed(error.message));
    const switches = SWITCHES.map(({ label, meaning, fault }) => {
      const position = active.findIndex((each) => sameFault(each, fault));
      const box = el("input", { type: "checkbox", checked: position >= 0, on: {
        change: () => change(box.checked ? { faults: [fault] } : { remove: position }) } });
      box.dataset.fault = label;
      return el("label", {}, box, el("span", {}, label), el("span", { className: "meaning" }, meaning));
    });
    return [
      section("Faults", "Switch one on to see how a program of yours behaves. They apply to all clients of this sandbox.",
        el("div", { className: "switches" }, ...switches)),
      section("Active faults", active.length ? "In the order in which they apply." : "None.",
        active.length ? el("div", {},
          table([["Action"], ["Origin"], ["Requests", "path"], ["Rate", "figure"], ["Applied", "figure"], [""]],
            active.map((fault, position) => [
              fault.action, fault.origin ?? "any", `${fault.method ?? ""} ${fault.path}`, String(fault.rate),
              `${fault.hits}${fault.times === null ? "" : ` of ${fault.times}`}`,
              [el("button", { type: "button", "aria-label": `Remove the fault ${fault.action}`, on: {
                click: () => change({ remove: position }) } }, "Remove")],
            ])),
          el("p", {}, el("button", { type: "button", on: { click: () => change({ remove: "all" }) } }, "Remove all"))) : null),
    ];
  };
}
