// Stacked bars over time, drawn by uPlot from the table that stands beside them: one source for eyes and ears.
// A chart: <div data-chart data-table="id of the table">. In the table each body row has a heading cell with data-at
// (seconds since 1970), and a cell with data-value for each series; the last one may be marked data-other.
"use strict";
(() => {
  const DAY = 86400;
  const charts = new Map();
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (series) => css(series.other ? "--other" : `--c${series.place % 8}`);

  const read = (table) => {
    const heads = Array.from(table.tHead.rows[0].cells).slice(1).filter((cell) => "series" in cell.dataset);
    const series = heads.map((cell, place) => ({
      name: cell.dataset.series, other: "other" in cell.dataset, place, values: [],
    }));
    const at = [];
    for (const row of table.tBodies[0].rows) {
      at.push(Number(row.cells[0].dataset.at));
      series.forEach((one, place) => one.values.push(Number(row.cells[place + 1].dataset.value || 0)));
    }
    return { at, series, step: Number(table.dataset.step) || DAY, unit: table.dataset.unit || "usd" };
  };

  // The dearest stands at the bottom. uPlot paints in order, so that the highest stack goes first.
  const stacked = (read) => {
    const sums = read.at.map(() => 0);
    const stacks = read.series.map((one) => one.values.map((value, place) => (sums[place] += value)));
    return [read.at, ...stacks.reverse()];
  };

  const money = (value) => {
    if (value === 0) return "$0";
    const size = Math.abs(value);
    if (size >= 1) return `$${value.toLocaleString("en-US", { maximumFractionDigits: 2, minimumFractionDigits: size < 100 ? 2 : 0 })}`;
    return `$${value.toLocaleString("en-US", { maximumSignificantDigits: 3 })}`;
  };
  // As many places as the steps of the axis need, on all of them.
  const scale = (splits, increment, unit) => {
    let places = 0;
    while (places < 9 && Math.abs(increment * 10 ** places - Math.round(increment * 10 ** places)) > 1e-9) places += 1;
    if (unit === "usd" && places) places = Math.max(2, places);
    const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
    return splits.map((value) => (unit === "usd" ? "$" : "") + (value ? value.toLocaleString("en-US", digits) : "0"));
  };
  const plain = (value) => value.toLocaleString("en-US");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const two = (number) => String(number).padStart(2, "0");
  const day = (date) => `${date.getUTCDate()} ${months[date.getUTCMonth()]}`;

  const tick = (seconds, step) => {
    const date = new Date(seconds * 1000);
    if (step < DAY && date.getUTCHours() + date.getUTCMinutes() > 0) return `${two(date.getUTCHours())}:00`;
    return step > 27 * DAY ? `${months[date.getUTCMonth()]} ${date.getUTCFullYear()}` : day(date);
  };
  const title = (seconds, step) => {
    const date = new Date(seconds * 1000);
    if (step < DAY) return `${day(date)}, ${two(date.getUTCHours())}:00`;
    if (step === DAY) return `${["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][date.getUTCDay()]} ${day(date)}`;
    return step > 27 * DAY ? tick(seconds, step) : `from ${day(date)}`;
  };

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const tip = (box, chart) => {
    const shown = element("div", "tip");
    shown.hidden = true;
    box.append(shown);
    const show = (plot) => {
      const at = plot.cursor.idx;
      if (at === null || at === undefined || plot.cursor.left < 0) { shown.hidden = true; return; }
      const { read } = chart, said = read.unit === "usd" ? money : plain;
      const rows = read.series.map((one) => ({ ...one, value: one.values[at] })).filter((one) => one.value > 0);
      const head = element("h3");
      head.append(element("span", "", title(read.at[at], read.step)),
        element("span", "", said(rows.reduce((sum, one) => sum + one.value, 0))));
      const list = element("ul");
      for (const one of rows.sort((a, b) => b.value - a.value)) {
        const line = element("li");
        line.append(element("span", `swatch ${one.other ? "" : `s${one.place % 8}`}`), element("bdi", "", one.name),
          element("span", "", said(one.value)));
        list.append(line);
      }
      shown.replaceChildren(head, list);
      shown.hidden = false;
      const left = plot.cursor.left + plot.over.offsetLeft, wide = shown.offsetWidth;
      shown.style.left = `${left + 18 + wide > box.clientWidth ? Math.max(0, left - wide - 14) : left + 18}px`;
    };
    return { hooks: { setCursor: [show] } };
  };

  // A part of the time that was drawn over with the mouse becomes the time that is looked at.
  const zoom = (chart) => ({
    hooks: {
      setSelect: [(plot) => {
        if (plot.select.width < 8) return;
        const { at, step } = chart.read;
        const from = plot.posToVal(plot.select.left, "x"), to = plot.posToVal(plot.select.left + plot.select.width, "x");
        const inside = at.filter((each) => each + step / 2 > from && each - step / 2 < to);
        if (!inside.length) return;
        const address = new URL(location.href);
        const iso = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16);
        address.searchParams.set("since", iso(inside[0]));
        address.searchParams.set("until", iso(inside[inside.length - 1] + step));
        for (const name of ["before", "grain"]) address.searchParams.delete(name);
        location.assign(address);
      }],
    },
  });

  const draw = (box) => {
    const table = document.getElementById(box.dataset.table);
    if (!table || typeof uPlot === "undefined") return;
    const chart = charts.get(box) || {};
    chart.read = read(table);
    const { at, series, step, unit } = chart.read;
    const key = JSON.stringify([series.map((one) => one.name), step, document.documentElement.dataset.theme,
      css("--surface")]);
    if (chart.plot && chart.key === key) { chart.plot.setData(stacked(chart.read)); return; }
    if (chart.plot) chart.plot.destroy();
    for (const old of box.querySelectorAll(".tip")) old.remove();
    if (!at.length || !series.length) return;
    const text = css("--muted"), line = css("--line");
    const font = `11px ${css("--sans")}`;
    const bars = uPlot.paths.bars({ size: [0.76, 54], gap: 0 });
    const height = box.classList.contains("tall") ? 300 : 250;
    chart.key = key;
    chart.plot = new uPlot({
      width: box.clientWidth, height, padding: [10, 14, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: { time: true, range: (_, low, high) => [low - step * 0.6, high + step * 0.6] },
        y: { range: (_, __, high) => [0, high > 0 ? high * 1.06 : 1] },
      },
      axes: [
        { stroke: text, font, grid: { show: false }, ticks: { stroke: line, size: 5 }, size: 28, space: 62,
          splits: (plot) => {
            const most = Math.max(2, Math.floor(plot.bbox.width / devicePixelRatio / 66));
            const gap = Math.max(1, Math.ceil(at.length / most));
            return at.filter((_, place) => (at.length - 1 - place) % gap === 0);
          },
          values: (_, splits) => splits.map((each) => tick(each, step)) },
        { stroke: text, font, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 48, gap: 6, space: 46,
          values: (_, splits, __, ___, increment) => scale(splits, increment, unit) },
      ],
      series: [{}, ...series.map((one) => ({ label: one.name, fill: colour(one), width: 0, paths: bars,
        points: { show: false } })).reverse()],
      plugins: [tip(box, chart), zoom(chart)],
    }, stacked(chart.read), box);
    box.dataset.drawn = "yes";
    if (!charts.has(box)) {
      new ResizeObserver(() => {
        if (chart.plot && box.clientWidth && box.clientWidth !== chart.plot.width) {
          chart.plot.setSize({ width: box.clientWidth, height });
        }
      }).observe(box);
      charts.set(box, chart);
    }
  };

  const all = () => { for (const box of document.querySelectorAll("[data-chart]")) draw(box); };
  document.addEventListener("costguard:news", all);
  document.addEventListener("costguard:theme", all);
  all();
})();
