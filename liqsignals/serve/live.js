"use strict";
// Keeps the page equal to the server's board: an event says that something changed, then the picture is fetched.
(() => {
  const get = (id) => document.getElementById(id);
  const pairs = get("pair"), connection = get("connection"), problem = get("problem"), chart = get("chart");
  let source = null, shown = "", wanted = "", busy = false;

  const element = (name, text, className) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (className) e.className = className;
    return e;
  };
  const when = (iso) => iso.slice(0, 16).replace("T", " ") + " UTC";

  function lamps(state) {
    const all = [...(state.lamps[pairs.value] || []), ...(state.lamps[""] || [])];
    const items = all.map((lamp) => {
      const since = lamp.since ? (lamp.state === "fresh" ? `, newest ${when(lamp.since)}` : ` since ${when(lamp.since)}`) : "";
      return element("li", `${lamp.name}: ${lamp.state}${since}`, lamp.state);
    });
    // One command may mend several inputs.
    for (const command of new Set(all.map((lamp) => lamp.remedy).filter(Boolean))) items.push(element("li", command, "command"));
    get("lamps").replaceChildren(...items);
    const bad = all.filter((lamp) => lamp.state !== "fresh"), link = get("health");
    link.textContent = bad.length ? bad.map((lamp) => `${lamp.name} ${lamp.state}`).join(", ") : all.length ? "all inputs fresh" : "";
    link.className = bad.length ? "stale" : "fresh";
  }

  function trades({ open, error, asked }) {
    if (!asked) return get("trades").replaceChildren(element("p", "No bot was named: liqsignals serve --bot http://127.0.0.1:8080", "dim"));
    if (error) return get("trades").replaceChildren(element("p", error, "problem"));
    if (!open.length) return get("trades").replaceChildren(element("p", "none", "dim"));
    const table = element("table"), head = element("tr"), wide = element("div", undefined, "wide");
    for (const name of ["pair", "side", "entry", "now", "stop", "liquidation", "result", "tag"]) {
      const th = element("th", name);
      th.scope = "col"; head.append(th);
    }
    table.append(element("thead"), element("tbody"));
    table.tHead.append(head);
    for (const t of open) {
      const row = element("tr");
      const cells = [t.pair, (t.is_short ? "short" : "long") + ` ${t.leverage}x`, t.open_rate, t.current_rate, t.stop_loss_abs, t.liquidation_price,
        t.profit_ratio === null ? null : (t.profit_ratio * 100).toFixed(2) + " %", t.enter_tag];
      for (const cell of cells) row.append(element("td", cell === null || cell === undefined ? "-" : String(cell)));
      table.tBodies[0].append(row);
    }
    wide.tabIndex = 0; wide.append(table);
    wide.setAttribute("role", "region"); wide.setAttribute("aria-label", "Table of open trades");
    get("trades").replaceChildren(wide);
  }

  async function picture() {
    // One fetch at a time; what changes meanwhile is fetched after it.
    if (busy) return;
    busy = true;
    try {
      while (wanted !== shown) {
        const asked = wanted, pair = pairs.value;
        chart.setAttribute("aria-busy", "true");
        if (chart.dataset.pair !== pair) get("readout").textContent = "Loading the map ...";
        const answer = await fetch("/picture?pair=" + encodeURIComponent(pair));
        if (pair !== pairs.value) continue;
        if (!answer.ok) { problem.textContent = await answer.text(); problem.hidden = false; break; }
        const body = await answer.json();
        for (const name of ["headline", "clusters", "how"]) get(name).innerHTML = body.html[name];
        await heatmap.load(body.data);
        chart.removeAttribute("aria-busy");
        if (chart.dataset.pair !== pair) get("readout").textContent = "Point at the map: time, price, side and USD stand here.";
        chart.dataset.at = body.head.at; chart.dataset.pair = body.head.pair;
        shown = asked;
      }
    } catch { /* the event stream says that the server is away, and asks again when it is back */ } finally { busy = false; }
  }

  function follow() {
    if (source) source.close();
    shown = "";
    const pair = pairs.value;
    source = new EventSource("/events?pair=" + encodeURIComponent(pair));
    source.addEventListener("open", () => { shown = ""; });
    source.addEventListener("state", (event) => {
      const state = JSON.parse(event.data), mine = state.pairs[pair];
      connection.textContent = "live, " + when(state.now); connection.className = "";
      problem.hidden = !mine.error; problem.textContent = mine.error || "";
      lamps(state); trades(state.trades);
      heatmap.stand(state.trades.open.filter((t) => t.pair === pair && t.open_timestamp)
        .map((t) => ({ open: t.open_timestamp, open_rate: t.open_rate, is_short: t.is_short, stop: t.stop_loss_abs })));
      wanted = pair + " " + mine.at; picture();
    });
    source.addEventListener("error", () => {
      connection.textContent = "connection lost, trying again"; connection.className = "lost";
      // A browser gives up after an answer that is no event stream.
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
    });
  }
  pairs.addEventListener("change", follow);
  follow();
})();
