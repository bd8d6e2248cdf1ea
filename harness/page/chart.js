// One chart: curves over time, the limit, and where a curve will meet it. Draws into an SVG.

const MARGIN = { top: 16, right: 16, bottom: 26, left: 58 };
const CHARACTER_WIDTH = 7.5;
const TICK_WIDTH = 64;
const POINTS_SHOWN = 40;
const LABEL_HEIGHT = 15;

function element(name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// A step of 1, 2 or 5 times a power of ten that divides `span` into about `parts`.
function niceStep(span, parts) {
  const power = 10 ** Math.floor(Math.log10(span / parts));
  const times = span / parts / power;
  return power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
}

function axis(low, high, parts, whole) {
  const step = Math.max(niceStep(high - low || 1, parts), whole ? 1 : 0);
  const from = Math.floor(low / step) * step;
  const count = Math.max(1, Math.ceil((high - from) / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, number) => from + number * step);
}

// How far both axes go: to the limit if it is asked for or near, else to what was measured.
function extent(chart) {
  const values = chart.curves.flatMap((curve) => curve.points.map(([, value]) => value)).filter((value) => value !== null);
  const times = chart.curves.flatMap((curve) => curve.points.map(([time]) => time));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const limitShown = chart.limit && (chart.toLimit || chart.limit <= 3 * high);
  const meets = chart.toLimit ? chart.curves.map((curve) => curve.meetsLimitAfter ?? 0) : [];
  return {
    low: chart.fromZero ? 0 : low,
    high: Math.max(high, limitShown ? chart.limit : 0, 1),
    end: Math.max(...times, ...meets, 1),
    limitShown,
  };
}

function scales(chart, width, height) {
  const { low, high, end, limitShown } = extent(chart);
  const right = width - MARGIN.right - CHARACTER_WIDTH * Math.max(...chart.curves.map((curve) => nameOf(curve, chart).length));
  const inner = { width: right - MARGIN.left, height: height - MARGIN.top - MARGIN.bottom };
  const rows = axis(low, high, 4, chart.fromZero);
  const columns = axis(0, end, Math.max(2, inner.width / TICK_WIDTH), false).filter((time) => time <= end);
  const [bottom, top] = [rows[0], rows.at(-1)];
  return {
    rows, columns, end, top, right, limitShown,
    x: (time) => MARGIN.left + (time / end) * inner.width,
    y: (value) => MARGIN.top + (1 - (value - bottom) / (top - bottom)) * inner.height,
  };
}

const nameOf = (curve, chart) => `${curve.name} ${chart.format(curve.points.at(-1)[1])}`;

function grid(chart, scale, height) {
  const rows = scale.rows.flatMap((value) => [
    element("line", { class: "grid", x1: MARGIN.left, x2: scale.right, y1: scale.y(value), y2: scale.y(value) }),
    element("text", { x: MARGIN.left - 6, y: scale.y(value) + 4, "text-anchor": "end" }, chart.format(value)),
  ]);
  const columns = scale.columns.map((time) =>
    element("text", { x: scale.x(time), y: height - 8, "text-anchor": "middle" }, `${+time.toFixed(2)} s`));
  return [...rows, ...columns];
}

function path(points, scale) {
  let isPen = false;
  return points.map(([time, value]) => {
    const step = value === null ? "" : `${isPen ? "L" : "M"}${scale.x(time).toFixed(1)} ${scale.y(value).toFixed(1)}`;
    isPen = value !== null;
    return step;
  }).join("");
}

function marks(curve, scale) {
  const shown = curve.points.length > POINTS_SHOWN ? curve.points.slice(-1) : curve.points;
  return shown.filter(([, value]) => value !== null).map(([time, value]) => {
    const [x, y] = [scale.x(time), scale.y(value)];
    return curve.name === "fixed"
      ? element("rect", { class: "point", x: x - 3.5, y: y - 3.5, width: 7, height: 7 })
      : element("circle", { class: "point", cx: x, cy: y, r: 4 });
  });
}

// The dotted way from the last point to the limit, as far as it is on the picture.
function ahead(curve, chart, scale) {
  const [time, value] = curve.points.at(-1);
  if (!curve.meetsLimitAfter || curve.meetsLimitAfter <= time || value === null) return [];
  const slope = (chart.limit - value) / (curve.meetsLimitAfter - time);
  const until = Math.min(scale.end, curve.meetsLimitAfter, time + (scale.top - value) / slope);
  if (until <= time) return [];
  return [element("path", { class: "ahead", d: path([[time, value], [until, value + (until - time) * slope]], scale) })];
}

function drawn(curve, chart, scale) {
  const group = element("g", { class: curve.name });
  const line = element("path", { class: "curve", d: path(curve.points, scale) });
  group.append(line, ...ahead(curve, chart, scale), ...marks(curve, scale));
  return group;
}

// The curves' names at their ends, moved apart where they would cover each other.
function names(chart, scale) {
  const ends = chart.curves.map((curve) => [curve, curve.points.at(-1)]).filter(([, [, value]]) => value !== null);
  const labels = ends.map(([curve, [time, value]]) => ({ curve, x: scale.x(time), y: scale.y(value) }));
  labels.sort((one, other) => other.y - one.y);
  labels.forEach((label, number) => {
    const below = labels[number - 1];
    if (below && below.y - label.y < LABEL_HEIGHT) label.y = below.y - LABEL_HEIGHT;
  });
  const down = Math.max(0, LABEL_HEIGHT - Math.min(...labels.map((label) => label.y)));
  return labels.map(({ curve, x, y }) => {
    const group = element("g", { class: curve.name });
    group.append(element("text", { class: "name", x: x + 8, y: y + 4 + down }, nameOf(curve, chart)));
    return group;
  });
}

function limit(chart, scale) {
  if (!chart.limit) return [];
  const text = `limit ${chart.format(chart.limit)}`;
  const y = scale.limitShown ? scale.y(chart.limit) : MARGIN.top - 4;
  const label = element("text", { class: "limit", x: MARGIN.left + 4, y: scale.limitShown ? y - 4 : y }, scale.limitShown ? text : `↑ ${text}`);
  if (!scale.limitShown) return [label];
  return [element("line", { class: "limit", x1: MARGIN.left, x2: scale.right, y1: y, y2: y }), label];
}

// Draws `chart`: {title, curves: [{name, points: [[s, value]], meetsLimitAfter}], limit, toLimit,
// fromZero, format}. The text coordinates are pixels, so that they are as large as the page's.
export function draw(svg, chart) {
  const { width, height } = svg.getBoundingClientRect();
  if (!width || !chart.curves.some((curve) => curve.points.some(([, value]) => value !== null))) return;
  const scale = scales(chart, width, height);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(
    ...grid(chart, scale, height), ...limit(chart, scale),
    ...chart.curves.map((curve) => drawn(curve, chart, scale)), ...names(chart, scale));
}
