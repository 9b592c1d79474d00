"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const STATE = 2, READY = 3, ENDED = 4, ATTEMPTS = 9;
  const PAGE = 200, ROW = 20, TOP = 24;
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  const tasks = data.tasks.map((row) => {
    const label = data.calls[row[0]] + (row[1] ? "[" + row[1] + "]" : "");
    const attempts = row[ATTEMPTS].map(([number, created, started, ended, ok, reason]) =>
      ({ number, created, started, ended, ok, reason }));
    const first = attempts[0], last = attempts[attempts.length - 1];
    let waited = null, ran = null;
    for (const a of attempts) {
      if (a.created !== null && a.started !== null) waited = (waited || 0) + Math.max(0, a.started - a.created);
      if (a.started !== null && a.ended !== null) ran = (ran || 0) + Math.max(0, a.ended - a.started);
    }
    const reasons = attempts.filter((a) => a.reason).map((a) => (attempts.length > 1 ? "attempt " + a.number + ": " : "") + a.reason);
    const state = data.states[row[STATE]];
    const begin = Math.min(...[row[READY], first && first.created, first && first.started].filter((t) => typeof t === "number"));
    return {
      label, call: row[0], state, attempts, waited, ran, reasons,
      begin: isFinite(begin) ? begin : null,
      end: last && last.ended !== null ? last.ended : row[ENDED],
      vcpus: row[5], memory: row[6], peak: row[7], cost: row[8],
      cpus: row[11], machine: row[12] === null ? "" : data.machines[row[12]],
      reason: reasons.join("; ") || row[10] || "",
    };
  });
  const span = tasks.reduce((most, t) => Math.max(most, t.end || 0, t.begin || 0), 1);

  function duration(s) {
    if (s === null || s === undefined) return "-";
    if (s < 10) return s.toFixed(1) + "s";
    s = Math.round(s);
    const two = (n) => String(n).padStart(2, "0");
    if (s >= 86400) return Math.floor(s / 86400) + "d " + two(Math.floor(s % 86400 / 3600)) + "h";
    if (s >= 3600) return Math.floor(s / 3600) + "h " + two(Math.floor(s % 3600 / 60)) + "m";
    return s >= 60 ? Math.floor(s / 60) + "m " + two(s % 60) + "s" : s + "s";
  }
  const mib = (n) => n === null ? "-" : n >= 10240 ? (n / 1024).toFixed(1) + " GiB" : n.toLocaleString("en") + " MiB";
  const dollars = (n) => n === null ? "-" : n > 0 && n < .01 ? "<$0.01" : "$" + n.toFixed(2);
  const average = (n) => n === null ? "-" : n.toFixed(2);
  const plain = (s) => s === null ? "-" : String(s);

  // Canvases

  function fit(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = height + "px";
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px " + getComputedStyle(document.body).fontFamily;
    pen.textBaseline = "middle";
    return pen;
  }

  function ticks(most) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
    const step = steps.find((s) => most / s <= 8) || Math.ceil(most / 8 / 86400) * 86400;
    const all = [];
    for (let t = 0; t <= most; t += step) all.push(t);
    return all;
  }
  const tick = (t) => t === 0 ? "0" : duration(Math.round(t)).replace(/\.0s/, "s").replace(/ 00[smh]/, "");

  function drawLoad() {
    const canvas = byId("load"), width = canvas.parentNode.clientWidth, height = 150;
    const pen = fit(canvas, width, height);
    const left = 46, bottom = 20, plotW = width - left - 12, plotH = height - bottom - 8;
    const columns = Math.max(1, Math.floor(plotW));
    const running = new Float64Array(columns + 1), waiting = new Float64Array(columns + 1);
    const put = (into, from, to) => {
      if (from === null || to === null || to < from) return;
      const a = Math.max(0, Math.min(columns - 1, Math.floor(from / span * columns)));
      const b = Math.max(a + 1, Math.min(columns, Math.floor(to / span * columns)));
      into[a] += 1; into[b] -= 1;
    };
    for (const t of tasks) for (const a of t.attempts) {
      put(waiting, a.created, a.started === null ? a.ended : a.started);
      put(running, a.started, a.ended === null && a.ok === 2 ? span : a.ended);
    }
    let most = 1;
    for (let i = 0, r = 0, w = 0; i < columns; i++) {
      r += running[i]; w += waiting[i]; running[i] = r; waiting[i] = w;
      most = Math.max(most, r + w);
    }
    const y = (n) => 8 + plotH - n / most * plotH;
    pen.strokeStyle = color("line"); pen.fillStyle = color("soft"); pen.lineWidth = 1;
    pen.textAlign = "right";
    for (const n of most > 1 ? [0, Math.round(most / 2), most] : [0, 1]) {
      pen.beginPath(); pen.moveTo(left, Math.round(y(n)) + .5); pen.lineTo(left + plotW, Math.round(y(n)) + .5); pen.stroke();
      pen.fillText(n.toLocaleString("en"), left - 8, y(n));
    }
    pen.textAlign = "center";
    for (const t of ticks(span)) pen.fillText(tick(t), left + t / span * plotW, height - 8);
    for (let i = 0; i < columns; i++) {
      pen.fillStyle = color0.running; pen.fillRect(left + i, y(running[i]), 1, y(0) - y(running[i]));
      pen.fillStyle = color0.waiting; pen.fillRect(left + i, y(running[i] + waiting[i]), 1, y(running[i]) - y(running[i] + waiting[i]));
    }
  }

  const lanes = byId("lanes"), lanesCanvas = byId("lanes-canvas");
  // Room for the longest name at about 6.6 pixels a character, within reason.
  const longest = tasks.reduce((most, t) => Math.max(most, t.label.length), 0);
  const LEFT = Math.min(350, Math.max(120, 24 + 6.6 * longest));
  let shown = tasks, color0 = {}, hovered = -1;

  function drawLanes() {
    const width = lanes.clientWidth;
    const whole = TOP + shown.length * ROW + 6;
    const height = Math.min(whole, 478);
    byId("lanes-height").style.height = whole + "px";
    const pen = fit(lanesCanvas, width, height);
    const left = Math.min(LEFT, width * .35), plotW = width - left - 16, scroll = lanes.scrollTop;
    const x = (t) => left + t / span * plotW;
    pen.strokeStyle = color0.line; pen.lineWidth = 1;
    const marks = ticks(span);
    for (const t of marks) { pen.beginPath(); pen.moveTo(Math.round(x(t)) + .5, TOP); pen.lineTo(Math.round(x(t)) + .5, height); pen.stroke(); }
    const firstRow = Math.max(0, Math.floor(scroll / ROW));
    const lastRow = Math.min(shown.length, Math.ceil((scroll + height) / ROW) + 1);
    for (let i = firstRow; i < lastRow; i++) {
      const t = shown[i], top = TOP + i * ROW - scroll;
      if (i === hovered) { pen.fillStyle = color0.head; pen.fillRect(0, top, width, ROW); }
      pen.save(); pen.beginPath(); pen.rect(0, TOP, left - 8, height); pen.clip();
      pen.textAlign = "left"; pen.fillStyle = t.state === "failed" ? color0.bad : color0.ink;
      pen.fillText(t.label, 10, top + ROW / 2); pen.restore();
      const bar = (from, to, fill) => {
        if (from === null || to === null) return;
        pen.fillStyle = fill; pen.fillRect(x(from), top + 4, Math.max(2, x(to) - x(from)), ROW - 8);
      };
      if (!t.attempts.length && t.begin !== null)
        bar(t.begin, t.end === null ? t.begin : t.end, t.state === "cached" ? color0.cached : color0.stopped);
      for (const a of t.attempts) {
        bar(a.created, a.started === null ? a.ended : a.started, color0.waiting);
        const stopped = t.state === "stopped" && a === t.attempts[t.attempts.length - 1];
        bar(a.started, a.ended === null ? span : a.ended, stopped || a.ok === 2 ? color0.stopped : a.ok === 0 ? color0.failed : color0.running);
      }
      for (const a of t.attempts) if (a.ok === 0 && t.state !== "stopped" && a.ended !== null) cross(pen, x(a.ended), x(a.ended) - x(a.started === null ? a.ended : a.started), top + ROW / 2);
    }
    pen.fillStyle = color0.card; pen.fillRect(0, 0, width, TOP);
    pen.fillStyle = color0.soft; pen.textAlign = "center";
    for (const t of marks) pen.fillText(tick(t), x(t), TOP / 2);
    pen.strokeStyle = color0.line; pen.lineWidth = 1; pen.beginPath(); pen.moveTo(0, TOP + .5); pen.lineTo(width, TOP + .5); pen.stroke();
  }

  // A failure is not told by colour alone.
  function cross(pen, end, length, middle) {
    const inside = length >= 16, at = inside ? end - 7 : end + 6;
    pen.strokeStyle = inside ? color0.card : color0.failed; pen.lineWidth = 1.8; pen.beginPath();
    pen.moveTo(at - 3, middle - 3); pen.lineTo(at + 3, middle + 3); pen.moveTo(at + 3, middle - 3); pen.lineTo(at - 3, middle + 3); pen.stroke();
  }

  function choose() {
    const text = byId("lane-filter").value.toLowerCase();
    shown = tasks.filter((t) => t.label.toLowerCase().includes(text));
    shown.sort(byId("lane-order").value === "call"
      ? (a, b) => a.call - b.call || (a.begin || 0) - (b.begin || 0)
      : (a, b) => (a.begin || 0) - (b.begin || 0) || a.call - b.call);
    byId("lane-count").textContent = shown.length.toLocaleString("en") + (shown.length === 1 ? " task" : " tasks");
    lanes.scrollTop = 0; hovered = -1;
    drawLanes();
  }

  const tip = byId("tip");
  function point(event) {
    const box = lanesCanvas.getBoundingClientRect();
    const down = event.clientY - box.top;
    const i = down < TOP ? -1 : Math.floor((down - TOP + lanes.scrollTop) / ROW);
    const t = shown[i];
    if (hovered !== i) { hovered = t ? i : -1; drawLanes(); }
    tip.hidden = !t;
    if (!t) return;
    const lines = [t.label + ": " + t.state];
    lines.push("began after " + duration(t.begin) + ", waited " + duration(t.waited) + ", ran " + duration(t.ran));
    if (t.memory !== null) lines.push(plain(t.vcpus) + " vCPUs" + (t.cpus !== null ? " (" + average(t.cpus) + " in use)" : "") + ", " + mib(t.memory) + (t.peak !== null ? ", used " + mib(t.peak) : ""));
    if (t.reason) lines.push(t.reason);
    tip.textContent = lines.join("\n");
    const across = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 12);
    const below = event.clientY + 16;
    tip.style.left = across + "px";
    tip.style.top = (below + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 10 : below) + "px";
  }
  lanesCanvas.addEventListener("mousemove", point);
  lanesCanvas.addEventListener("mouseleave", () => { tip.hidden = true; hovered = -1; drawLanes(); });
  lanes.addEventListener("scroll", () => { tip.hidden = true; requestAnimationFrame(drawLanes); });
  byId("lane-filter").addEventListener("input", choose);
  byId("lane-order").addEventListener("change", choose);

  function draw() {
    color0 = Object.fromEntries(["line", "soft", "ink", "bad", "card", "head", "waiting", "running", "failed", "stopped", "cached"].map((n) => [n, color(n)]));
    drawLoad();
    drawLanes();
  }
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  // Tables

  function sortable(table, sort) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.append(button);
      button.addEventListener("click", () => {
        const text = head.dataset.kind === "text";
        const now = head.getAttribute("aria-sort");
        // What is most comes first where there are numbers.
        const to = now ? (now === "ascending" ? "descending" : "ascending") : text ? "ascending" : "descending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", to);
        sort(column, to === "ascending" ? 1 : -1, text);
      });
    });
  }
  const compare = (a, b, text) => text ? String(a).localeCompare(String(b), "en", { numeric: true }) : a - b;

  const calls = byId("calls");
  sortable(calls, (column, sign, text) => {
    const key = (row) => text ? row.cells[column].textContent : Number(row.cells[column].dataset.value);
    const rows = [...calls.tBodies[0].rows].sort((a, b) => sign * compare(key(a), key(b), text));
    calls.tBodies[0].append(...rows);
  });

  const number = (n) => n === null || n === undefined ? -1 : n;
  const KEYS = [
    (t) => t.label, (t) => t.state, (t) => t.attempts.length, (t) => number(t.begin), (t) => number(t.waited), (t) => number(t.ran),
    (t) => number(t.vcpus), (t) => number(t.cpus), (t) => number(t.memory), (t) => number(t.peak), (t) => t.machine,
    (t) => number(t.cost), (t) => t.reason,
  ];
  const table = byId("task-table");
  let listed = [...tasks], rows = PAGE, order = null;
  const HUES = { succeeded: "running", cached: "cached", failed: "failed", stopped: "stopped", unfinished: "waiting" };

  function cell(tag, text, className) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }
  function fill() {
    const body = document.createDocumentFragment();
    for (const t of listed.slice(0, rows)) {
      const row = document.createElement("tr");
      const name = cell("th", t.label);
      name.scope = "row";
      const state = cell("td", "", "text"), mark = document.createElement("i"), hold = cell("span", "", "state");
      mark.style.background = "var(--" + HUES[t.state] + ")";
      hold.append(mark, t.state);
      state.append(hold);
      row.append(name, state, cell("td", String(t.attempts.length)), cell("td", duration(t.begin)), cell("td", duration(t.waited)),
        cell("td", duration(t.ran)), cell("td", plain(t.vcpus)), cell("td", average(t.cpus)), cell("td", mib(t.memory)),
        cell("td", mib(t.peak)), cell("td", t.machine || "-", "machine"), cell("td", dollars(t.cost)), cell("td", t.reason, "text reason"));
      body.append(row);
    }
    table.tBodies[0].replaceChildren(body);
    byId("more").hidden = listed.length <= rows;
    byId("task-count").textContent = Math.min(rows, listed.length).toLocaleString("en") + " of " + listed.length.toLocaleString("en") + (listed.length === 1 ? " task" : " tasks");
  }
  function list() {
    const text = byId("task-filter").value.toLowerCase();
    listed = tasks.filter((t) => (t.label + " " + t.state + " " + t.reason).toLowerCase().includes(text));
    if (order) listed.sort((a, b) => order.sign * compare(KEYS[order.column](a), KEYS[order.column](b), order.text));
    rows = PAGE;
    fill();
  }
  sortable(table, (column, sign, text) => { order = { column, sign, text }; list(); });
  byId("task-filter").addEventListener("input", list);
  byId("more").addEventListener("click", () => { rows += PAGE; fill(); });

  draw();
  choose();
  fill();
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
