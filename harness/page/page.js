// The live page: follows the run that serves it, and its twin on the port beside, until they end.
import { draw } from "./chart.js";

const RETRY_MS = 1000;
const TWIN_RETRY_MS = 3000;
const PAUSE_MS = 20;
const ORDER = ["leaky", "mine", "fixed"];
const CALLS_SHOWN = 30;

const get = (id) => document.getElementById(id);
const copy = (id) => get(id).content.firstElementChild.cloneNode(true);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const seconds = (value) => `${+value.toFixed(1)} s`;
const megabytes = (value) => `${(value / 1e6).toFixed(1)} MB`;
const isBytes = (gauge) => gauge.endsWith("_bytes");

function figure(gauge, value) {
  if (value === null || value === undefined) return "n/a";
  return isBytes(gauge) ? megabytes(value) : number.format(value);
}

// A side is one run as it is followed: {origin, run, open, ended, isOwn, isLooking}.
const sides = [];
const shown = () => sides.filter((side) => side.run).sort((one, other) => ORDER.indexOf(one.run.variant) - ORDER.indexOf(other.run.variant));

async function ask(side, path) {
  const answer = await fetch(side.origin + path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function isTwin(run) {
  const own = sides[0].run;
  return own && run.lab === own.lab && run.variant !== own.variant;
}

function take(side, run) {
  if (!run.samples.length || !(side.isOwn || isTwin(run))) return;
  side.run = run;
  side.ended = run.ended;
  if (side.isOwn && run.beside && sides.length === 1) follow(run.beside);
}

async function turn(side) {
  const after = side.run && !side.ended ? side.run.changes : -1;
  take(side, await ask(side, `/page/run.json?after=${after}`));
  if (side.run && !side.ended && !side.isLooking) look(side);
}

// The search for holders takes memory: it is made where the run has made it itself, or on request.
function wantsHolders(side) {
  const table = [...get("open").children].find((child) => child.dataset.key === side.origin);
  return side.run.evidence.length > 0 || table?.querySelector("details[open]") != null;
}

// Who holds what may take the lab a second to find out: the curve does not wait for it.
async function look(side) {
  side.isLooking = true;
  try {
    side.open = await ask(side, `/page/open.json${wantsHolders(side) ? "?holders=1" : ""}`);
    render();
  } catch {
    // The run has just ended: what was last seen stays, and the next turn finds out.
  } finally {
    side.isLooking = false;
  }
}

async function follow(port) {
  const origin = port ? `${location.protocol}//${location.hostname}:${port}` : location.origin;
  const side = { origin, isOwn: !port, run: null, open: [], ended: false };
  sides.push(side);
  for (;;) {
    try {
      await turn(side);
    } catch {
      side.ended = true;
    }
    render();
    await pause(side.run && !side.ended ? PAUSE_MS : side.isOwn || side.run ? RETRY_MS : TWIN_RETRY_MS);
  }
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Gives `parent` one child for each of `items`, made once for each key, so that what a reader has
// opened or stands on stays as it is.
function reconcile(parent, items, keyOf, make, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = String(keyOf(item));
    const child = before.get(key) ?? make(item);
    child.dataset.key = key;
    update(child, item);
    return child;
  });
  const isSame = wanted.length === parent.children.length && wanted.every((child, at) => child === parent.children[at]);
  if (!isSame) parent.replaceChildren(...wanted);
}

const make = (name) => () => document.createElement(name);
const lines = (parent, texts, name = "li") =>
  reconcile(parent, texts.map((text, at) => ({ text, at })), ({ at }) => at, make(name), (node, { text }) => setText(node, text));

function stateOf(side) {
  const last = side.run.samples.at(-1).elapsed_s;
  return side.ended ? `ended after ${seconds(last)}` : "is running";
}

function renderState() {
  const all = shown();
  if (!all.length) {
    setText(get("state"), sides[0].ended ? "Nobody answers: the lab has ended. Start it again and this page follows." : "");
    return;
  }
  const title = sides[0].run?.title ?? all[0].run.title;
  setText(get("title"), title);
  document.title = `${title}: live`;
  const state = all.map((side) => `${side.run.variant} ${stateOf(side)}`).join(", ");
  const over = all.every((side) => side.ended);
  setText(get("state"), over ? `The lab has ended: ${state}. What you see is how it ended.` : `${state[0].toUpperCase()}${state.slice(1)}.`);
}

function verdictOf({ verdict, exhaustion }) {
  if (exhaustion) return [exhaustion, "leaking"];
  const mark = { true: "⚠️ ", false: "✓ " }[verdict.leaking] ?? "";
  return [mark + verdict.says, { true: "leaking", false: "stable" }[verdict.leaking] ?? "open"];
}

function notesOf(side) {
  const { run, open } = side;
  const { reached_after_s: end, value } = run.limit;
  const out = end === null ? [] : [`At this rate all ${number.format(value)} descriptors are open ${seconds(end)} after the start.`];
  const found = run.verdict.leaking && open[0]?.held_by ? open[0] : null;
  const top = found ? [`${found.origin}: ${number.format(found.count)} ${found.noun}`, `held by ${found.held_by}`] : run.evidence;
  return [...(run.exhaustion ? [] : out), ...run.failures, ...top];
}

function renderRun(node, side) {
  const { run } = side;
  const last = run.samples.at(-1);
  node.className = run.variant;
  setText(node.querySelector(".name"), `${run.variant}, process ${run.pid}, ${seconds(last.elapsed_s)}`);
  const [says, kind] = verdictOf(run);
  const verdict = node.querySelector(".verdict");
  verdict.className = `verdict ${kind}`;
  setText(verdict, says);
  const figures = Object.entries(last.values).flatMap(([gauge, value]) => [["dt", run.gauges[gauge]], ["dd", figure(gauge, value)]]);
  reconcile(node.querySelector(".figures"), figures.map((item, at) => [...item, at]), ([, , at]) => at,
    ([name]) => document.createElement(name), (cell, [, text]) => setText(cell, text));
  lines(node.querySelector(".notes"), notesOf(side));
}

function chartOf(gauge, all) {
  const curves = all.filter(({ run }) => run.charts.includes(gauge)).map(({ run }) => ({
    name: run.variant,
    points: run.samples.map((sample) => [sample.elapsed_s, sample.values[gauge] ?? null]),
    meetsLimitAfter: run.limit.gauge === gauge ? run.limit.reached_after_s : null,
  }));
  const limits = all.filter(({ run }) => run.limit.gauge === gauge && run.limit.value).map(({ run }) => run.limit.value);
  return {
    gauge, curves, title: all.map(({ run }) => run.gauges[gauge]).find(Boolean),
    limit: limits.length ? Math.min(...limits) : null, toLimit: get("to-limit").checked,
    fromZero: !isBytes(gauge), format: (value) => figure(gauge, value),
  };
}

function summary(chart) {
  const ends = chart.curves.map(({ name, points }) =>
    `${name} from ${chart.format(points[0][1])} to ${chart.format(points.at(-1)[1])} in ${seconds(points.at(-1)[0])}`);
  const limit = chart.limit ? `; limit ${chart.format(chart.limit)}` : "";
  return `${chart.title}: ${ends.join(", ")}${limit}`;
}

function renderTable(node, chart) {
  const details = node.querySelector("details");
  if (!details.open) return;
  const [first, second] = chart.curves[0].points;
  const digits = second && second[0] - first[0] < 0.5 ? 2 : 1;
  const columns = chart.curves.map(({ points }) => new Map(points.map(([time, value]) => [+time.toFixed(digits), value])));
  const times = [...new Set(columns.flatMap((column) => [...column.keys()]))].sort((one, other) => one - other);
  const cells = times.map((time) => [`${time} s`, ...columns.map((column) => column.has(time) ? chart.format(column.get(time)) : "")]);
  const names = chart.curves.map(({ name }) => name);
  node.querySelector("thead").replaceChildren(tableRow(["After", ...names], () => "col"));
  node.querySelector("tbody").replaceChildren(...cells.map((texts) => tableRow(texts, (at) => (at ? "" : "row"))));
}

// A row of a table; `scopeOf` tells which of its cells are headings.
function tableRow(texts, scopeOf) {
  const line = document.createElement("tr");
  line.append(...texts.map((text, at) => {
    const scope = scopeOf(at);
    const cell = document.createElement(scope ? "th" : "td");
    if (scope) cell.scope = scope;
    cell.textContent = text;
    return cell;
  }));
  return line;
}

function renderChart(node, chart) {
  setText(node.querySelector("figcaption"), chart.title);
  setText(node.querySelector("summary"), `${chart.title} as a table`);
  const svg = node.querySelector("svg");
  svg.setAttribute("aria-label", summary(chart));
  draw(svg, chart);
  renderTable(node, chart);
}

function makeChart() {
  const node = copy("chart-template");
  node.querySelector("details").addEventListener("toggle", render);
  return node;
}

function renderGroup(node, group) {
  setText(node.querySelector(".count"), `${number.format(group.count)} ${group.noun}`);
  setText(node.querySelector("summary"), group.origin);
  setText(node.querySelector(".held"), group.held_by && `held by ${group.held_by}`);
  lines(node.querySelector(".stack"), group.stack.slice(0, CALLS_SHOWN));
  const more = group.more_targets ? ` and ${number.format(group.more_targets)} more` : "";
  setText(node.querySelector(".targets"), `On ${group.targets.map((target) => target || "(no name)").join(", ")}${more}`);
}

function renderOpen(node, side) {
  node.className = side.run.variant;
  const total = side.open.reduce((sum, group) => sum + group.count, 0);
  const when = side.ended ? "when last looked" : "at the last look";
  setText(node.querySelector("caption"), `${side.run.variant}: ${total ? number.format(total) : "nothing"}, ${when}`);
  node.querySelector("thead").hidden = total === 0;
  reconcile(node.querySelector("tbody"), side.open, (group) => `${group.noun.slice(0, 4)} ${group.origin}`, () => copy("group-template"), renderGroup);
}

function makeProfile([kind, what]) {
  const item = document.createElement("li");
  const [name, links] = [document.createElement("strong"), document.createElement("span")];
  name.textContent = `${kind} `;
  item.append(name, links, document.createElement("br"), what);
  return item;
}

function renderProfile(node, [kind], all) {
  const wait = kind === "profile" ? "&seconds=5" : "";
  reconcile(node.querySelector("span"), all, (side) => side.origin, make("a"), (link, side) => {
    link.href = `${side.origin}/debug/pprof/ui?profile=${kind}${wait}`;
    link.setAttribute("aria-label", `${kind} of ${side.run.variant}`);
    setText(link, side.run.variant);
  });
}

function render() {
  const all = shown();
  renderState();
  const byOrigin = (side) => side.origin;
  reconcile(get("runs"), all, byOrigin, () => copy("run-template"), renderRun);
  const gauges = [...new Set(all.flatMap(({ run }) => run.charts))];
  reconcile(get("charts"), gauges.map((gauge) => chartOf(gauge, all)), ({ gauge }) => gauge, makeChart, renderChart);
  reconcile(get("open"), all, byOrigin, () => copy("open-template"), renderOpen);
  const profiles = Object.entries(all[0]?.run.profiles ?? {});
  reconcile(get("profiles"), profiles, ([kind]) => kind, makeProfile, (node, profile) => renderProfile(node, profile, all));
}

get("to-limit").addEventListener("change", render);
new ResizeObserver(render).observe(get("charts"));
follow(null);
