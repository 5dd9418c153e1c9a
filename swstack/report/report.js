// What needs a script: exploring a crossbar, saving a picture that the page holds, and showing that more is to the right.
"use strict";
(function () {
  const saved = (name, type, text) => {
    const link = document.createElement("a");
    link.download = name;
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const style = getComputedStyle(document.documentElement);
  for (const button of document.querySelectorAll("button[data-svg]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const picture = document.querySelector(`#figure-${button.dataset.svg} svg`);
      const text = new XMLSerializer().serializeToString(picture)
        .replace(/var\((--[a-z]+)\)/g, (_, name) => style.getPropertyValue(name).trim() || "#000");
      saved(`${button.dataset.svg}.svg`, "image/svg+xml", text);
    });
  }

  const mark = (box) => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 2);
  const boxes = [...document.querySelectorAll(".scroll")];
  for (const box of boxes) {
    mark(box);
    box.addEventListener("scroll", () => mark(box), { passive: true });
  }
  addEventListener("resize", () => boxes.forEach(mark));

  // What is folded away is not on paper.
  addEventListener("beforeprint", () => document.querySelectorAll("details.printed").forEach((one) => { one.open = true; }));

  const source = document.getElementById("crossbars");
  const box = document.getElementById("explorer");
  if (!source || !box) return;
  const data = JSON.parse(source.textContent);
  const [schemes, groups] = box.querySelectorAll("select");
  const canvas = box.querySelector("canvas");
  const told = box.querySelector("output");
  const effects = ["harmless", "outvoted", "changes a weight"];
  const scale = 5;
  let cursor = [0, 0];
  for (const name of Object.keys(data)) schemes.add(new Option(name));
  for (const name of Object.keys(data[schemes.value])) groups.add(new Option(name));
  if (box.dataset.scheme in data) schemes.value = box.dataset.scheme;
  if (box.dataset.group in data[schemes.value]) groups.value = box.dataset.group;

  const crossbar = () => data[schemes.value][groups.value];
  const bitsOf = (one) => Uint8Array.from(atob(one.cells), (c) => c.charCodeAt(0));
  const bit = (bits, index) => (bits[index >> 3] >> (7 - (index & 7))) & 1;
  const colour = (one, line) => {
    if (one.output[line] < 0) return null;
    if (one.repeats[line]) return [230, 159, 0];
    const share = one.plane[line] / Math.max(one.planes - 1, 1);
    return [198, 223, 240].map((low, i) => low + ([11, 79, 130][i] - low) * share);
  };

  function draw() {
    const one = crossbar();
    const bits = bitsOf(one);
    canvas.width = one.lines * scale;
    canvas.height = one.rows * scale;
    const pen = canvas.getContext("2d");
    // The same colours in both themes: a dark plane on dark paper could not be told from an empty one.
    const [ink, paper] = ["#1f2933", "#ffffff"];
    pen.fillStyle = paper;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const idle = new Set(one.idle);
    for (let line = 0; line < one.lines; line++) {
      const own = colour(one, line);
      if (!own) continue;
      for (let row = 0; row < one.rows; row++) {
        const strength = (bit(bits, row * one.lines + line) ? 1 : 0.38) * (idle.has(row) ? 0.25 : 1);
        pen.fillStyle = `rgba(${own.map(Math.round).join(",")},${strength})`;
        pen.fillRect(line * scale, row * scale, scale, scale);
      }
    }
    const marks = [null, "#cc79a7", "#d55e00"];
    for (const [row, line, , effect] of one.stuck) {
      pen.beginPath();
      pen.arc((line + 0.5) * scale, (row + 0.5) * scale, scale * 0.85, 0, 7);
      pen.strokeStyle = ink;
      pen.lineWidth = 1.2;
      if (marks[effect]) {
        pen.fillStyle = marks[effect];
        pen.fill();
      }
      pen.stroke();
    }
    const [row, line] = cursor;
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    pen.strokeRect(line * scale - 2, row * scale - 2, scale + 4, scale + 4);
  }

  function tell() {
    const one = crossbar();
    cursor = [Math.min(cursor[0], one.rows - 1), Math.min(cursor[1], one.lines - 1)];
    const [row, line] = cursor;
    const stored = bit(bitsOf(one), row * one.lines + line);
    const parts = [`word line ${row}, bit line ${line}`];
    if (one.output[line] < 0) parts.push("unused");
    else {
      const top = one.plane[line] === one.planes - 1 ? " (MSB)" : "";
      parts.push(`output ${one.output[line]}, plane ${one.plane[line]}${top}, counts 2^${one.shift[line]}`);
      if (one.repeats[line]) parts.push(`replica ${one.replica[line] + 1}`);
      if (one.flipped[line]) parts.push("flipped");
      parts.push(`stores ${stored}`);
    }
    if (one.idle.includes(row)) parts.push("word line never driven");
    const stuck = one.stuck.find((entry) => entry[0] === row && entry[1] === line);
    parts.push(stuck ? `stuck at ${stuck[2]}: ${effects[stuck[3]]}` : "not stuck");
    const counts = effects.map((name, i) => {
      const number = one.stuck.filter((entry) => entry[3] === i).length;
      return `${number} ${number === 1 ? name : name.replace("changes", "change")}`;
    });
    told.textContent = `${parts.join(", ")}. Stuck cells of this crossbar: ${counts.join(", ")}.`;
  }

  const update = () => { tell(); draw(); };
  const point = (event) => {
    const area = canvas.getBoundingClientRect();
    const one = crossbar();
    cursor = [
      Math.max(0, Math.min(one.rows - 1, Math.floor(((event.clientY - area.top) / area.height) * one.rows))),
      Math.max(0, Math.min(one.lines - 1, Math.floor(((event.clientX - area.left) / area.width) * one.lines))),
    ];
    update();
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const one = crossbar();
    cursor = [
      Math.max(0, Math.min(one.rows - 1, cursor[0] + step[0])),
      Math.max(0, Math.min(one.lines - 1, cursor[1] + step[1])),
    ];
    update();
  });
  schemes.addEventListener("change", update);
  groups.addEventListener("change", update);
  box.hidden = false;
  update();
})();
