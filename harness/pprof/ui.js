// Width, zoom and search of a flame graph that the server has drawn: boxes are moved, never redrawn.
"use strict";

const svg = document.querySelector("#graph svg");
const drawn = svg ? svg.viewBox.baseVal.width : 0; // what data-x and data-w are measured in
let shown = [0, drawn];

function place(group, from, scale, total) {
  const x = (Number(group.dataset.x) - from) * scale;
  const width = Number(group.dataset.w) * scale;
  const left = Math.max(x, 0);
  const right = Math.min(x + width, total);
  group.classList.toggle("outside", right - left < 0.2);
  const [rect, text] = [group.querySelector("rect"), group.querySelector("text")];
  rect.setAttribute("x", left);
  rect.setAttribute("width", Math.max(right - left, 0));
  text.setAttribute("x", left + 3);
  const name = group.querySelector("title").textContent.split(": ")[0];
  const room = Math.floor((right - left - 6) / 6.6);
  text.textContent = room < 4 ? "" : name.length <= room ? name : "…" + name.slice(1 - room);
}

function zoom(from, width) {
  shown = [from, width];
  const total = svg.viewBox.baseVal.width;
  for (const group of svg.querySelectorAll("g")) place(group, from, total / width, total);
}

function fit() {
  const room = Math.max(svg.parentElement.clientWidth, 300);
  svg.setAttribute("width", room);
  svg.setAttribute("viewBox", `0 0 ${room} ${svg.viewBox.baseVal.height}`);
  zoom(...shown);
}

function find(wanted) {
  let count = 0;
  for (const group of svg.querySelectorAll("g")) {
    const hit = wanted !== "" && group.querySelector("title").textContent.includes(wanted);
    group.classList.toggle("found", hit);
    count += hit;
  }
  document.getElementById("found").textContent = wanted === "" ? "" : `${count} found`;
}

if (svg) {
  svg.addEventListener("click", (event) => {
    const group = event.target.closest("g");
    if (group) zoom(Number(group.dataset.x), Number(group.dataset.w));
  });
  document.getElementById("reset").onclick = () => zoom(0, drawn);
  window.addEventListener("resize", fit);
  fit();
  const field = document.getElementById("find");
  field.oninput = () => find(field.value);
  field.value = decodeURIComponent(location.hash.slice(1));
  find(field.value);
}
