"use strict";
// Players of the page: a slider moves the picture, the outlines, the charts' cursors and the memory's tiles together.
// Text goes into the page as text only, so nothing that a result says can become markup.

const SVG = "http://www.w3.org/2000/svg";
const GRID = 16;
const PLAY_MS = 125;
const payload = JSON.parse(document.getElementById("payload").textContent);
const players = new Map();

class Player {
  constructor(root) {
    this.root = root;
    this.frames = payload[root.dataset.player].frames;
    this.position = payload[root.dataset.player].start;
    this.slider = root.querySelector("input[type=range]");
    this.image = root.querySelector(".stage img");
    this.stage = root.querySelector(".stage");
    this.play = root.querySelector("[data-play]");
    this.timer = null;
    this.byIndex = new Map(this.frames.map((frame) => [frame.i, frame]));
    this.listen();
    this.show(this.position);
  }

  listen() {
    this.slider.addEventListener("input", () => this.show(Number(this.slider.value)));
    for (const button of this.root.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.show(this.position + Number(button.dataset.step)));
    }
    for (const button of this.root.querySelectorAll("[data-go]")) {
      button.addEventListener("click", () => this.show(Number(button.dataset.go)));
    }
    for (const box of this.root.querySelectorAll("[data-toggle]")) {
      box.addEventListener("change", () => {
        const outline = this.root.querySelector(`[data-layer="${box.dataset.toggle}"]`);
        outline.toggleAttribute("hidden", !box.checked);
      });
    }
    this.play.addEventListener("click", () => this.toggle());
    if (this.stage) {
      this.stage.addEventListener("keydown", (event) => this.key(event));
    }
    for (const figure of this.root.querySelectorAll("figure.line")) {
      figure.querySelector("svg").addEventListener("click", (event) => this.seek(figure, event));
    }
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (event.key in steps) {
      this.show(this.position + steps[event.key]);
    } else if (event.key === "Home") {
      this.show(0);
    } else if (event.key === "End") {
      this.show(this.frames.length - 1);
    } else {
      return;
    }
    event.preventDefault();
  }

  toggle() {
    const playing = this.timer === null;
    if (playing) {
      this.timer = setInterval(() => this.show((this.position + 1) % this.frames.length), PLAY_MS);
    } else {
      clearInterval(this.timer);
      this.timer = null;
    }
    this.play.textContent = playing ? "Pause" : "Play";
    this.play.setAttribute("aria-pressed", String(playing));
  }

  seek(figure, event) {
    const box = figure.querySelector("svg").getBoundingClientRect();
    const { low, high, start, end } = numbers(figure);
    const share = ((event.clientX - box.left) / box.width - start) / (end - start);
    const wanted = low + share * (high - low);
    const distances = this.frames.map((frame) => Math.abs(frame.i - wanted));
    this.show(distances.indexOf(Math.min(...distances)));
  }

  show(position) {
    this.position = Math.min(Math.max(position, 0), this.frames.length - 1);
    const frame = this.frames[this.position];
    this.slider.value = String(this.position);
    this.slider.setAttribute("aria-valuetext", `frame ${frame.n}: ${frame.v.join("; ")}`);
    this.root.querySelector("output").textContent = `frame ${frame.n}`;
    if (this.image && frame.s) {
      this.image.src = frame.s;
      this.image.alt = `Frame ${frame.n}`;
    }
    frame.o.forEach((path, layer) => {
      this.root.querySelector(`[data-layer="${layer}"]`).setAttribute("d", path);
    });
    frame.v.forEach((text, series) => {
      this.root.querySelector(`[data-value="${series}"]`).textContent = text;
    });
    for (const figure of this.root.querySelectorAll("figure.line")) {
      moveCursor(figure, frame.i);
    }
    frame.m.forEach((cells, strip) => this.tiles(strip, frame, cells));
  }

  tiles(strip, frame, cells) {
    const holder = this.root.querySelector(`[data-strip="${strip}"] .tiles`);
    const sources = Object.keys(cells).map(Number).sort((a, b) => a - b);
    const tiles = sources.map((source) => this.tile(source, frame.i - source, cells[source]));
    if (tiles.length === 0) {
      tiles.push(element("p", "Nothing is in memory."));
    }
    holder.replaceChildren(...tiles);
  }

  tile(source, age, bits) {
    const held = this.byIndex.get(source);
    const kept = cellsOf(bits);
    const figure = element("figure");
    figure.className = "tile";
    const picture = element("div");
    picture.className = "picture";
    picture.style.aspectRatio = this.image ? `${this.image.width} / ${this.image.height}` : "16 / 9";
    if (held && held.s) {
      const image = element("img");
      image.src = held.s;
      image.alt = "";
      picture.append(image);
    }
    picture.append(cellPicture(kept));
    const caption = element("figcaption");
    caption.append(element("b", `frame ${held ? held.n : source}`), element("br"), `${kept.length} tokens, ${ageWords(age)}`);
    figure.append(picture, caption);
    return figure;
  }
}

function ageWords(age) {
  return age === 0 ? "this frame" : `${age} frame${age === 1 ? "" : "s"} ago`;
}

function cellsOf(bits) {
  const cells = [];
  for (let digit = 0; digit < bits.length; digit += 1) {
    const value = parseInt(bits[digit], 16);
    for (let bit = 0; bit < 4; bit += 1) {
      if (value & (8 >> bit)) {
        cells.push(4 * digit + bit);
      }
    }
  }
  return cells;
}

function cellPicture(cells) {
  const squares = cells.map((cell) => `M${cell % GRID} ${Math.floor(cell / GRID)}h1v1h-1z`).join("");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${GRID} ${GRID}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const [name, data] of [["unlit", `M0 0h${GRID}v${GRID}h-${GRID}z${squares}`], ["lit", squares]]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    path.setAttribute("d", data);
    svg.append(path);
  }
  return svg;
}

function moveCursor(figure, index) {
  const { low, high, start, end } = numbers(figure);
  const cursor = figure.querySelector(".cursor");
  const x = figure.querySelector("svg").viewBox.baseVal.width * (start + ((index - low) / (high - low)) * (end - start));
  cursor.setAttribute("x1", String(x));
  cursor.setAttribute("x2", String(x));
  cursor.setAttribute("visibility", "visible");
}

function numbers(figure) {
  const { low, high, start, end } = figure.dataset;
  return { low: Number(low), high: Number(high), start: Number(start), end: Number(end) };
}

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
}

for (const root of document.querySelectorAll("[data-player]")) {
  players.set(root.dataset.player, new Player(root));
}
for (const link of document.querySelectorAll("[data-open]")) {
  link.addEventListener("click", (event) => {
    const player = players.get(link.dataset.open);
    player.show(Number(link.dataset.position));
    event.preventDefault(); // following the link would take the focus away from the slider
    history.pushState(null, "", link.hash);
    document.getElementById(link.dataset.open).scrollIntoView();
    player.slider.focus({ preventScroll: true });
  });
}
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) {
    details.open = true;
  }
});
