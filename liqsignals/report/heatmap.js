"use strict";
// Draws a picture (report/heatmap_html.py describes its fields) into #chart, and again at each `load` of a newer one.
const heatmap = (() => {
  const chart = document.getElementById("chart"), readout = document.getElementById("readout");
  const [canvas, over] = chart.querySelectorAll("canvas");
  const ctx = canvas.getContext("2d"), octx = over.getContext("2d");

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const inflated = async (text) =>
    new Uint8Array(await new Response(new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
  const floats = async (text) => new Float32Array((await inflated(text)).buffer);

  // The picture shown: `heat` is a row a price bucket; O, H, L, C are its candles.
  let doc = null, T = 0, R = 0, heat, O, H, L, C, profile, pooled, digits;
  // What is in view: columns a .. b, rows lo .. hi; and what the switches say.
  let home, view = null, side = "both", least = 1, colours, lut = new Uint32Array(256), cross = null, box = {};

  // Trades that are open (the live page): `open` ms, `open_rate`, `is_short`, `stop`.
  let standing = [];
  function stand(trades) { standing = trades; redraw(); }

  async function load(next) {
    const n = next.columns, rows = next.rows, matrix = await inflated(next.heat);
    // Stored as differences along time.
    for (let r = 0; r < rows; r++) for (let k = r * n + 1, end = (r + 1) * n; k < end; k++) matrix[k] = (matrix[k] + matrix[k - 1]) & 255;
    const candles = await floats(next.candles), newProfile = await floats(next.profile);
    for (const panel of next.panels) for (const s of panel.series) s.values = await floats(s.values);
    const before = doc;
    [doc, T, R, heat, profile] = [next, n, rows, matrix, newProfile];
    [O, H, L, C] = [0, 1, 2, 3].map((i) => candles.subarray(i * T, (i + 1) * T));
    digits = Math.max(2, 5 - Math.floor(Math.log10(C.find(Number.isFinite) || 1)));
    prices = new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    pool();
    const highest = H.reduce((m, v) => (v > m ? v : m), -Infinity), lowest = L.reduce((m, v) => (v < m ? v : m), Infinity);
    const wasHome = view && Object.keys(home).every((name) => view[name] === home[name]);
    home = { a: 0, b: T * 1.02, lo: Math.max(0, rowOf(lowest * 0.93)), hi: Math.min(R, rowOf(highest * 1.07)) };
    if (!view || wasHome || before.pair !== doc.pair || before.step !== doc.step) view = { ...home };
    else {
      // The same instants and prices stay in view; a view that showed the newest candle follows it.
      const shift = view.b >= before.columns ? T - before.columns : (before.start - doc.start) / doc.step, up = before.row - doc.row;
      view.a += shift; view.b += shift; view.lo += up; view.hi += up;
    }
    threshold.max = doc.steps;
    palette(); layout(); draw();
  }

  // The same at 2, 4, 8 .. columns a cell: the stronger of two counts, so that a wall does not fade when zoomed out.
  function pool() {
    pooled = [{ data: heat, n: T }];
    while (pooled[pooled.length - 1].n > 400) {
      const { data, n } = pooled[pooled.length - 1], m = (n + 1) >> 1, out = new Uint8Array(m * R);
      for (let r = 0; r < R; r++)
        for (let k = 0; k < m; k++) {
          const a = data[r * n + 2 * k], b = 2 * k + 1 < n ? data[r * n + 2 * k + 1] : 0;
          out[r * m + k] = (a & 127) >= (b & 127) ? a : b;
        }
      pooled.push({ data: out, n: m });
    }
  }

  const price = (row) => Math.exp((doc.row + row) * doc.log_step);
  const rowOf = (p) => Math.log(p) / doc.log_step - doc.row;
  const dateOf = (k) => new Date(doc.start + k * doc.step);
  const usdOf = (v) => ((v &= 127) ? doc.faint * (doc.strong / doc.faint) ** ((v - 0.5) / (doc.steps - 1)) : 0);
  const usdText = (u) => {
    for (const [size, unit] of [[1e9, " B"], [1e6, " M"], [1e3, " k"]]) if (Math.abs(u) >= size) return (u / size).toPrecision(3) + unit;
    return u.toFixed(0);
  };
  // Formatters are made once: toLocaleString makes one at every call.
  const whole = new Intl.NumberFormat("en-US"), day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  let prices = whole;
  const priceText = (p) => prices.format(p);
  const timeText = (d) => d.toISOString().slice(0, 16).replace("T", " ") + " UTC";

  // The scale of the colours, a row a side; what the switches hide is missing from it.
  const key = document.createElement("canvas"), kctx = key.getContext("2d");
  function palette() {
    const dark = !matchMedia("(prefers-color-scheme: light)").matches, style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(["bg", "fg", "dim", "line", "long", "short", "trade"].map((n) => [n, style.getPropertyValue("--" + n).trim()]));
    colours.plain = colours.fg;
    const pixel = (hex) => 0xff000000 | (parseInt(hex.slice(5, 7), 16) << 16) | (parseInt(hex.slice(3, 5), 16) << 8) | parseInt(hex.slice(1, 3), 16);
    lut = new Uint32Array(256).fill(pixel(colours.bg));
    for (const [name, base] of [["long", 0], ["short", 128]])
      if (side === "both" || side === name)
        for (let v = least; v <= doc.steps; v++) lut[base + v] = pixel(doc.colours[dark ? "dark" : "light"][name][v - 1]);
    key.width = doc.steps; key.height = 2;
    const scale = kctx.createImageData(doc.steps, 2), out = new Uint32Array(scale.data.buffer);
    out.set(lut.subarray(129, 129 + doc.steps)); out.set(lut.subarray(1, 1 + doc.steps), doc.steps);
    kctx.putImageData(scale, 0, 0);
  }

  function layout() {
    const w = chart.clientWidth, h = chart.clientHeight, dpr = devicePixelRatio || 1, narrow = w < 760;
    for (const [c, x] of [[canvas, ctx], [over, octx]]) {
      c.width = Math.round(w * dpr); c.height = Math.round(h * dpr);
      x.setTransform(dpr, 0, 0, dpr, 0, 0);
    }
    const below = doc.panels.length * (narrow ? 48 : 58) + 24, axis = 84, prof = narrow ? 0 : Math.min(230, w * 0.18);
    box = { w, h, x0: 4, x1: w - axis - prof, y0: 4, y1: h - below, px0: w - prof + 4, px1: w - 6, narrow, panel: narrow ? 48 : 58 };
  }
  const X = (k) => box.x0 + ((k - view.a) / (view.b - view.a)) * (box.x1 - box.x0);
  const K = (x) => view.a + ((x - box.x0) / (box.x1 - box.x0)) * (view.b - view.a);
  const Y = (row) => box.y1 - ((row - view.lo) / (view.hi - view.lo)) * (box.y1 - box.y0);
  const ROW = (y) => view.lo + ((box.y1 - y) / (box.y1 - box.y0)) * (view.hi - view.lo);

  const tile = document.createElement("canvas"), tctx = tile.getContext("2d");
  let image = null;
  function drawHeat() {
    const w = Math.floor(box.x1 - box.x0), h = Math.floor(box.y1 - box.y0);
    if (!image || image.width !== w || image.height !== h) { tile.width = w; tile.height = h; image = tctx.createImageData(w, h); }
    const out = new Uint32Array(image.data.buffer), per = (view.b - view.a) / w;
    const level = Math.max(0, Math.min(pooled.length - 1, Math.floor(Math.log2(Math.max(per, 1)))));
    const { data, n } = pooled[level], column = new Int32Array(w);
    for (let x = 0; x < w; x++) {
      const k = Math.floor((view.a + (x + 0.5) * per) / 2 ** level);
      column[x] = k >= 0 && k < n ? k : -1;
    }
    const rows = (view.hi - view.lo) / h;
    for (let y = 0; y < h; y++) {
      const r = Math.floor(view.hi - (y + 0.5) * rows), s = rows > 1.2 ? Math.floor(view.hi - (y + 0.5) * rows - rows / 2) : r;
      const at = y * w;
      if (r < 0 || r >= R) { out.fill(lut[0], at, at + w); continue; }
      const one = r * n, two = s >= 0 && s < R ? s * n : one;
      for (let x = 0; x < w; x++) {
        const k = column[x];
        if (k < 0) { out[at + x] = lut[0]; continue; }
        let v = data[one + k];
        if (one !== two) { const u = data[two + k]; if ((u & 127) > (v & 127)) v = u; }
        out[at + x] = lut[v];
      }
    }
    tctx.putImageData(image, 0, 0);
    ctx.drawImage(tile, box.x0, box.y0);
  }

  function clipped(x0, y0, x1, y1, draw) {
    ctx.save(); ctx.beginPath(); ctx.rect(x0, y0, x1 - x0, y1 - y0); ctx.clip(); draw(); ctx.restore();
  }

  function drawCandles() {
    const width = (box.x1 - box.x0) / (view.b - view.a), group = Math.max(1, Math.ceil(2 / width));
    const first = Math.max(0, Math.floor(view.a / group) * group), end = Math.min(T, Math.ceil(view.b));
    // Rectangles on whole pixels: they are drawn several times as fast as lines. The halo keeps candles apart from the heat.
    const halo = new Path2D(), dark = new Path2D(), light = new Path2D();
    for (let k = first; k < end; k += group) {
      let hi = -Infinity, lo = Infinity, open = NaN, close = NaN;
      for (let j = k; j < Math.min(k + group, T); j++) {
        if (!(C[j] > 0)) continue;
        if (isNaN(open)) open = O[j];
        close = C[j]; hi = Math.max(hi, H[j]); lo = Math.min(lo, L[j]);
      }
      if (isNaN(open)) continue;
      const x = Math.round(X(k + group / 2)), half = Math.floor(width * group * 0.35);
      const top = Math.round(Y(rowOf(hi))), tall = Math.max(1, Math.round(Y(rowOf(lo))) - top);
      halo.rect(x - 1, top - 1, 3, tall + 2); dark.rect(x, top, 1, tall);
      if (half < 1) continue;
      const upper = Math.round(Y(rowOf(Math.max(open, close)))), body = Math.max(1, Math.round(Y(rowOf(Math.min(open, close)))) - upper);
      halo.rect(x - half - 1, upper - 1, 2 * half + 3, body + 2); dark.rect(x - half, upper, 2 * half + 1, body);
      // Hollow where it rose.
      if (close >= open && body > 2) light.rect(x - half + 1, upper + 1, 2 * half - 1, body - 2);
    }
    ctx.fillStyle = colours.bg; ctx.fill(halo); ctx.fillStyle = colours.fg; ctx.fill(dark); ctx.fillStyle = colours.bg; ctx.fill(light);
  }

  function drawMarks() {
    const p = doc.prints;
    for (let i = 0; i < p.t.length; i++) {
      const x = X((p.t[i] - doc.start) / doc.step);
      if (x < box.x0 || x > box.x1) continue;
      ctx.beginPath(); ctx.arc(x, Y(rowOf(p.price[i])), Math.min(9, 1.5 + Math.sqrt(p.usd[i] / 2e4)), 0, 7);
      ctx.fillStyle = p.side[i] ? colours.short : colours.long; ctx.fill(); ctx.strokeStyle = colours.bg; ctx.lineWidth = 1; ctx.stroke();
    }
    const swept = doc.sweeps.filter((s) => (side === "both" || side === s.side) && X(s.column) >= box.x0 && X(s.column) <= box.x1);
    const many = swept.length > 40;
    for (const s of swept) {
      ctx.beginPath(); ctx.arc(X(s.column + 0.5), Y(rowOf(s.price)), many ? 3 : 5, 0, 7);
      ctx.lineWidth = many ? 2.5 : 4; ctx.strokeStyle = colours.bg; ctx.stroke();
      ctx.lineWidth = many ? 1.2 : 2; ctx.strokeStyle = colours[s.side]; ctx.stroke();
    }
    const shown = doc.trades.filter((t) => X((t.close - doc.start) / doc.step) >= box.x0 && X((t.open - doc.start) / doc.step) <= box.x1);
    const z = shown.length > 40 ? 0.5 : 1;
    for (const t of shown) {
      const xs = [t.open, t.close].map((ms) => X((ms - doc.start) / doc.step)), ys = [t.open_rate, t.close_rate].map((q) => Y(rowOf(q)));
      for (const [style, wide] of [[colours.bg, 4 * z], [colours.trade, 2 * z]]) {
        ctx.strokeStyle = style; ctx.lineWidth = wide; ctx.beginPath();
        ctx.moveTo(xs[0], ys[0]); ctx.lineTo(xs[1], ys[1]); ctx.moveTo(xs[1] - 4 * z, ys[1] - 4 * z); ctx.lineTo(xs[1] + 4 * z, ys[1] + 4 * z);
        ctx.moveTo(xs[1] - 4 * z, ys[1] + 4 * z); ctx.lineTo(xs[1] + 4 * z, ys[1] - 4 * z); ctx.stroke();
      }
      if (t.stop > 0) stopLine(xs[0], xs[1], t.stop); // where it stood at the end
      if (shown.length <= 6) for (const [i, text] of [[0, t.tag], [1, t.exit]]) if (text) tag(text, xs[i], ys[i] + (i === Number(t.is_short) ? 16 : -16), i ? "left" : "right", colours.trade);
      entry(xs[0], ys[0], t.is_short, z);
    }
    for (const t of standing) {
      const x = X((t.open - doc.start) / doc.step), end = X(T);
      if (t.stop > 0) { stopLine(Math.max(x, box.x0), end, t.stop); tag("stop", end - 4, Y(rowOf(t.stop)) + (t.is_short ? -12 : 12), "right", colours.trade); }
      entry(x, Y(rowOf(t.open_rate)), t.is_short, 1);
    }
  }
  function entry(x, y, short, z) {
    const turn = short ? z : -z;
    ctx.beginPath(); ctx.moveTo(x, y + turn * 7); ctx.lineTo(x - 6 * z, y - turn * 4); ctx.lineTo(x + 6 * z, y - turn * 4); ctx.closePath();
    ctx.fillStyle = colours.trade; ctx.fill(); ctx.strokeStyle = colours.bg; ctx.lineWidth = 1; ctx.stroke();
  }
  function stopLine(x0, x1, at) {
    for (const [style, wide] of [[colours.bg, 3.5], [colours.trade, 1.5]]) {
      ctx.strokeStyle = style; ctx.lineWidth = wide; ctx.setLineDash([5, 4]); ctx.beginPath();
      ctx.moveTo(x0, Y(rowOf(at))); ctx.lineTo(x1, Y(rowOf(at))); ctx.stroke(); ctx.setLineDash([]);
    }
  }

  function tag(text, x, y, align, colour) {
    ctx.font = "12px system-ui, sans-serif"; ctx.textBaseline = "middle"; ctx.textAlign = align;
    const w = ctx.measureText(text).width + 8, left = align === "right" ? x - w + 4 : x - 4;
    ctx.globalAlpha = 0.85; ctx.fillStyle = colours.bg; ctx.fillRect(left, y - 8, w, 16); ctx.globalAlpha = 1;
    ctx.fillStyle = colour; ctx.fillText(text, x, y);
  }

  function drawLabels() {
    const x = X(T) - 6, used = [];
    // They are of the last candle: where it is out of view they would name walls that stood at no candle shown.
    if (x < box.x0 + 120 || x > box.x1 + 20) return;
    for (const c of doc.clusters) {
      const y = Y(rowOf(c.price));
      if ((side !== "both" && side !== c.side) || y < box.y0 + 8 || y > box.y1 - 8 || used.some((u) => Math.abs(u - y) < 17)) continue;
      used.push(y); tag(c.text, x, y, "right", colours[c.side]);
    }
  }

  function niceStep(span, most) {
    const raw = span / most, unit = 10 ** Math.floor(Math.log10(raw));
    return unit * [1, 2, 5, 10].find((m) => m * unit >= raw);
  }

  function drawAxes() {
    ctx.font = "12px system-ui, sans-serif"; ctx.fillStyle = colours.dim; ctx.strokeStyle = colours.line; ctx.lineWidth = 1;
    ctx.textAlign = "left"; ctx.textBaseline = "middle";
    const lo = price(view.lo), hi = price(view.hi), step = niceStep(hi - lo, 9);
    const last = C[T - 1] || C.findLast(Number.isFinite), now = Y(rowOf(last));
    for (let p = Math.ceil(lo / step) * step; p < hi; p += step) {
      const y = Y(rowOf(p));
      if (Math.abs(y - now) < 17) continue; // the last price stands there
      ctx.beginPath(); ctx.moveTo(box.x1, y); ctx.lineTo(box.x1 + 5, y); ctx.stroke();
      ctx.fillText(step >= 1 ? whole.format(p) : p.toPrecision(6), box.x1 + 8, y);
    }
    const steps = [5, 15, 30, 60, 180, 360, 720, 1440, 2880, 7200, 14400, 43200].map((m) => m * 6e4);
    const perPixel = ((view.b - view.a) * doc.step) / (box.x1 - box.x0), gap = steps.find((s) => s / perPixel > 80) || steps[steps.length - 1];
    ctx.textAlign = "center"; ctx.textBaseline = "bottom";
    const from = doc.start + view.a * doc.step, to = doc.start + view.b * doc.step;
    for (let ms = Math.ceil(from / gap) * gap; ms < to; ms += gap) {
      const x = X((ms - doc.start) / doc.step), d = new Date(ms), midnight = ms % 864e5 === 0;
      ctx.beginPath(); ctx.moveTo(x, box.y1); ctx.lineTo(x, box.h - 20); ctx.globalAlpha = 0.6; ctx.stroke(); ctx.globalAlpha = 1;
      const text = midnight ? day.format(d) : d.toISOString().slice(11, 16);
      if (x > box.x0 + 18 && x < box.x1 - 18) ctx.fillText(text, x, box.h - 3);
    }
    if (now > box.y0 && now < box.y1) {
      ctx.fillStyle = colours.fg; ctx.fillRect(box.x1 + 2, now - 9, 80, 18); ctx.fillStyle = colours.bg;
      ctx.textAlign = "left"; ctx.textBaseline = "middle"; ctx.fillText(priceText(last).slice(0, 11), box.x1 + 6, now);
    }
  }

  // What stands now, by price, and its sums outward from price.
  function drawProfile() {
    if (box.narrow) return;
    const h = Math.floor(box.y1 - box.y0), w = box.px1 - box.px0;
    let most = 1, total = [0, 0];
    for (let r = Math.max(0, Math.floor(view.lo)); r < Math.min(R, view.hi); r++) most = Math.max(most, profile[r], profile[R + r]);
    // A pixel shows the mean of its buckets.
    const mean = (s, y) => {
      const a = Math.max(0, Math.floor(ROW(y + 1))), b = Math.min(R, Math.max(a + 1, Math.floor(ROW(y))));
      let sum = 0;
      for (let r = a; r < b; r++) sum += profile[s * R + r];
      return b > a ? sum / (b - a) : 0;
    };
    const now = rowOf(C.findLast(Number.isFinite)), curves = [[], []];
    for (let r = Math.floor(now); r >= 0; r--) { total[0] += profile[r]; curves[0].push([r, total[0]]); }
    for (let r = Math.max(0, Math.floor(now)); r < R; r++) { total[1] += profile[R + r]; curves[1].push([r + 1, total[1]]); }
    const top = Math.max(...curves.map((c, s) => c.reduce((m, [r, u]) => (r >= view.lo && r <= view.hi ? Math.max(m, u) : m), 0)), 1);
    clipped(box.px0, box.y0, box.px1, box.y1, () => {
      for (const [s, name] of [[0, "long"], [1, "short"]]) {
        if (side !== "both" && side !== name) continue;
        ctx.fillStyle = colours[name]; ctx.globalAlpha = 0.55;
        for (let y = 0; y < h; y++) ctx.fillRect(box.px0, box.y0 + y, (mean(s, box.y0 + y) / most) * w * 0.8, 1);
        ctx.globalAlpha = 1; ctx.strokeStyle = colours[name]; ctx.lineWidth = 2; ctx.beginPath();
        curves[s].forEach(([r, u], i) => ctx[i ? "lineTo" : "moveTo"](box.px0 + (u / top) * w * 0.95, Y(r)));
        ctx.stroke();
      }
    });
    ctx.font = "12px system-ui, sans-serif"; ctx.fillStyle = colours.dim; ctx.textBaseline = "top"; ctx.textAlign = "left";
    ctx.fillText("what stands at the end, by price", box.px0, box.y1 + 6);
    ctx.fillText("line: sum from price, to " + usdText(top) + " USD", box.px0, box.y1 + 22);
    const y = box.y1 + 64;
    ctx.fillText("colour: USD in 0.05 % of price", box.px0, y - 20);
    ctx.imageSmoothingEnabled = false; ctx.drawImage(key, box.px0, y, w * 0.95, 20); ctx.imageSmoothingEnabled = true;
    ctx.fillStyle = colours.dim; ctx.fillText(usdText(doc.faint), box.px0, y + 23);
    ctx.textAlign = "right"; ctx.fillText(usdText(doc.strong), box.px0 + w * 0.95, y + 23);
  }

  function drawPanels() {
    doc.panels.forEach((panel, i) => {
      const y0 = box.y1 + i * box.panel + 18, y1 = box.y1 + (i + 1) * box.panel, w = Math.floor(box.x1 - box.x0);
      let lo = Infinity, hi = -Infinity;
      const a = Math.max(0, Math.floor(view.a)), b = Math.min(T, Math.ceil(view.b));
      for (const s of panel.series) for (let k = a; k < b; k++) { const v = s.values[k]; if (v < lo) lo = v; if (v > hi) hi = v; }
      if (!(hi > lo)) { lo = (lo === Infinity ? 0 : lo) - 1; hi = lo + 2; }
      const bent = panel.root ? (v) => Math.sign(v) * Math.sqrt(Math.abs(v)) : (v) => v, from = bent(lo), to = bent(hi);
      const V = (v) => y1 - ((bent(v) - from) / (to - from)) * (y1 - y0);
      ctx.strokeStyle = colours.line; ctx.lineWidth = 1; ctx.beginPath(); ctx.moveTo(box.x0, y1 + 1); ctx.lineTo(box.x1, y1 + 1);
      if (lo < 0 && hi > 0) { ctx.moveTo(box.x0, V(0)); ctx.lineTo(box.x1, V(0)); }
      ctx.stroke();
      clipped(box.x0, y0 - 1, box.x1, y1 + 1, () => {
        for (const s of panel.series) {
          ctx.fillStyle = colours[s.role];
          const path = new Path2D();
          let before = NaN;
          for (let x = 0; x < w; x++) {
            let min = Infinity, max = -Infinity, last = NaN;
            const k0 = Math.floor(K(box.x0 + x)), k1 = Math.max(Math.floor(K(box.x0 + x + 1)), k0 + 1);
            for (let j = Math.max(0, k0); j < Math.min(T, k1); j++) { const v = s.values[j]; if (v < min) min = v; if (v > max) max = v; if (v === v) last = v; }
            if (max < min) { before = NaN; continue; }
            // Bars start at zero, a line where the pixel before it ended.
            if (s.bars) { min = Math.min(min, 0); max = Math.max(max, 0); } else if (before === before) { min = Math.min(min, before); max = Math.max(max, before); }
            const top = Math.round(V(max));
            path.rect(box.x0 + x, top, 1, Math.max(s.bars ? 0 : 1, Math.round(V(min)) - top));
            before = last;
          }
          ctx.globalAlpha = s.bars ? 0.75 : 1; ctx.fill(path); ctx.globalAlpha = 1;
        }
      });
      ctx.font = "12px system-ui, sans-serif"; ctx.textBaseline = "top"; ctx.textAlign = "left"; ctx.fillStyle = colours.dim;
      ctx.fillText(panel.name, box.x0 + 4, y0 - 15);
      ctx.fillText(short(hi), box.x1 + 8, y0 - 4); ctx.textBaseline = "bottom"; ctx.fillText(short(lo), box.x1 + 8, y1 + 3);
    });
  }
  const short = (v) => (Math.abs(v) >= 1e3 ? usdText(v) : v.toPrecision(3));

  function draw() {
    if (box.x1 - box.x0 < 1 || box.y1 - box.y0 < 1) return; // not laid out yet; a resize draws again
    ctx.fillStyle = colours.bg; ctx.fillRect(0, 0, box.w, box.h);
    drawHeat();
    clipped(box.x0, box.y0, box.x1, box.y1, () => { drawCandles(); drawMarks(); });
    drawAxes(); drawProfile(); drawPanels(); drawLabels();
    drawCross();
  }
  let waiting = false;
  const redraw = () => { if (doc && !waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };

  // What stands at a column within 0.25 % of a row: the width of a cluster.
  function around(k, r) {
    let usd = 0;
    for (let j = Math.max(0, r - 5); j <= Math.min(R - 1, r + 5); j++) usd += usdOf(heat[j * T + k]);
    return usd;
  }
  function drawCross() {
    octx.clearRect(0, 0, box.w, box.h);
    if (!cross || !doc) return;
    const { x, y } = cross, k = Math.floor(K(x));
    octx.strokeStyle = colours.fg; octx.setLineDash([3, 3]); octx.lineWidth = 1; octx.beginPath();
    octx.moveTo(x, box.y0); octx.lineTo(x, box.h - 20);
    if (y < box.y1) { octx.moveTo(box.x0, y); octx.lineTo(box.px1, y); }
    octx.stroke(); octx.setLineDash([]);
    const parts = [];
    if (k >= 0 && k < T) {
      parts.push(timeText(dateOf(k)));
      if (y < box.y1) {
        const r = Math.floor(ROW(y)), p = price(ROW(y));
        octx.font = "12px system-ui, sans-serif"; octx.fillStyle = colours.fg; octx.fillRect(box.x1 + 2, y - 9, 80, 18);
        octx.fillStyle = colours.bg; octx.textBaseline = "middle"; octx.fillText(priceText(p).slice(0, 11), box.x1 + 6, y);
        const v = r >= 0 && r < R ? heat[r * T + k] : 0;
        parts.push("price " + priceText(p) + (C[k] > 0 ? ` (${((p / C[k] - 1) * 100).toFixed(2)} % from the close)` : ""));
        parts.push(v & 127 ? `${v > 127 ? "shorts" : "longs"}: ≈ ${usdText(usdOf(v))} USD here, ≈ ${usdText(around(k, r))} within ± 0.25 %` : "no level");
      }
      if (C[k] > 0) parts.push(`candle ${[O, H, L, C].map((s) => priceText(s[k])).join(" ")}`);
      for (const panel of doc.panels)
        for (const s of panel.series) if (Number.isFinite(s.values[k])) parts.push(`${s.name} ${short(panel.root ? Math.abs(s.values[k]) : s.values[k])}`);
      for (const t of doc.trades) if (Math.abs(X((t.open - doc.start) / doc.step) - x) < 5 || Math.abs(X((t.close - doc.start) / doc.step) - x) < 5) parts.push(`trade of ${t.strategy}, ${t.is_short ? "short" : "long"}: ${(t.profit * 100).toFixed(2)} %` + [t.tag, t.exit].filter(Boolean).map((text) => ", " + text).join(""));
    }
    readout.textContent = parts.join(" · ");
  }

  function zoomTime(factor, at) {
    const span = Math.min(T * 1.3, Math.max(12, (view.b - view.a) * factor)), share = (at - view.a) / (view.b - view.a);
    view.a = at - share * span; view.b = view.a + span; bound();
  }
  function zoomPrice(factor, at) {
    const span = Math.min(R * 1.2, Math.max(20, (view.hi - view.lo) * factor)), share = (at - view.lo) / (view.hi - view.lo);
    view.lo = at - share * span; view.hi = view.lo + span; bound();
  }
  function pan(columns, rows) { view.a += columns; view.b += columns; view.lo += rows; view.hi += rows; bound(); }
  function bound() {
    const span = view.b - view.a, shift = Math.max(-span * 0.5 - view.a, Math.min(0, T + span * 0.5 - view.b)) ;
    view.a += shift; view.b += shift;
    const tall = view.hi - view.lo, up = Math.max(-tall * 0.5 - view.lo, Math.min(0, R + tall * 0.5 - view.hi));
    view.lo += up; view.hi += up;
  }

  const pointers = new Map();
  const place = (e) => { const b = chart.getBoundingClientRect(); return { x: e.clientX - b.left, y: e.clientY - b.top }; };
  chart.addEventListener("pointerdown", (e) => { pointers.set(e.pointerId, place(e)); chart.setPointerCapture(e.pointerId); });
  chart.addEventListener("pointermove", (e) => {
    if (!doc) return;
    const p = place(e), old = pointers.get(e.pointerId);
    if (old && pointers.size === 1) {
      pan(K(old.x) - K(p.x), old.y < box.y1 ? ROW(old.y) - ROW(p.y) : 0); pointers.set(e.pointerId, p); redraw();
    } else if (old && pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== e.pointerId)[1], before = Math.hypot(old.x - other.x, old.y - other.y);
      zoomTime(before / Math.max(10, Math.hypot(p.x - other.x, p.y - other.y)), K((p.x + other.x) / 2)); pointers.set(e.pointerId, p); redraw();
    }
    cross = p.x >= box.x0 && p.x <= box.x1 ? p : null;
    if (!waiting) drawCross();
  });
  for (const name of ["pointerup", "pointercancel"]) chart.addEventListener(name, (e) => pointers.delete(e.pointerId));
  chart.addEventListener("pointerleave", () => { cross = null; drawCross(); });
  chart.addEventListener("wheel", (e) => {
    e.preventDefault();
    if (!doc) return;
    const p = place(e), factor = Math.exp(Math.max(-60, Math.min(60, e.deltaY || e.deltaX)) * 0.004);
    if (e.shiftKey || p.x > box.x1) zoomPrice(factor, ROW(p.y)); else zoomTime(factor, K(p.x));
    redraw();
  }, { passive: false });
  const reset = () => { if (view) { Object.assign(view, home); redraw(); } };
  chart.addEventListener("dblclick", reset);
  chart.addEventListener("keydown", (e) => {
    if (!doc) return;
    const wide = (view.b - view.a) / 10, tall = (view.hi - view.lo) / 10, middle = (view.a + view.b) / 2, row = (view.lo + view.hi) / 2;
    const acts = {
      ArrowLeft: () => pan(-wide, 0), ArrowRight: () => pan(wide, 0), ArrowUp: () => pan(0, tall), ArrowDown: () => pan(0, -tall),
      "+": () => zoomTime(0.8, middle), "=": () => zoomTime(0.8, middle), "-": () => zoomTime(1.25, middle),
      PageUp: () => zoomPrice(0.8, row), PageDown: () => zoomPrice(1.25, row), Home: reset,
    };
    if (acts[e.key]) { e.preventDefault(); acts[e.key](); redraw(); }
  });
  document.getElementById("reset").addEventListener("click", reset);
  for (const input of document.querySelectorAll("input[name=side]"))
    input.addEventListener("change", () => { side = input.value; if (doc) { palette(); redraw(); } });
  const threshold = document.getElementById("threshold"), from = document.getElementById("from");
  threshold.addEventListener("input", () => {
    if (!doc) return;
    least = Number(threshold.value);
    from.textContent = least > 1 ? "≥ " + usdText(usdOf(least)) + " USD" : "all";
    threshold.setAttribute("aria-valuetext", from.textContent);
    palette(); redraw();
  });
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => { if (doc) { palette(); redraw(); } });
  new ResizeObserver(() => { if (doc) { layout(); redraw(); } }).observe(chart);
  return { load, stand };
})();
