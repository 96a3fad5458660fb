// The explorer in the browser: change a fact of a scene, type a caption, choose a pair of layers.
// What it shows was computed by tools/explorer.py; only typed captions are read here, by llama.js.
window.explorerData = {};
(() => {
  "use strict";
  const script = document.currentScript, root = script.src.replace(/[^/]*$/, "");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const make = (tag, about = {}, ...inside) => {
    const { data, aria, ...own } = about, made = Object.assign(document.createElement(tag), own);
    Object.assign(made.dataset, data);
    for (const [name, value] of Object.entries(aria ?? {})) made.setAttribute(name === "role" ? name : `aria-${name}`, value);
    made.append(...inside);
    return made;
  };
  const load = (name) => new Promise((resolve, reject) => {  // scripts load from files, too
    const failed = () => reject(new Error(`${name} could not be loaded`));
    document.head.append(make("script", { src: root + name, onload: resolve, onerror: failed }));
  });
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const choice = (label, options, chosen, change) => {
    const select = make("select", {}, ...options.map(([value, text]) => make("option", { value, textContent: text, selected: value === chosen })));
    select.addEventListener("change", () => change(select.value, select));
    return make("label", {}, make("span", { textContent: label }), select);
  };
  const ordinal = (n) => `${n}${n % 100 > 10 && n % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[n % 10] ?? "th"}`;

  // A picture from a sheet
  function picture(sheet, index, size, alt, shown = 64) {
    const { columns } = window.explorerData.scenes;
    const x = (index % columns) * shown, y = Math.floor(index / columns) * shown;
    const made = make("span", { className: "picture", aria: { role: "img", label: alt } });
    made.style.cssText = `width:${shown}px;height:${shown}px;background-image:url("${root}${sheet}.webp");`
      + `background-size:${columns * shown}px auto;background-position:-${x}px -${y}px`;
    return made;
  }

  // A list in which what stays moves to its new place
  function renew(list, items) {
    const before = new Map([...list.children].map((item) => [item.dataset.key, item.getBoundingClientRect()]));
    list.replaceChildren(...items);
    if (calm.matches || !before.size) return;
    for (const item of items) {
      const old = before.get(item.dataset.key), now = item.getBoundingClientRect();
      const frames = old ? [{ transform: `translate(${old.left - now.left}px, ${old.top - now.top}px)` }, { transform: "none" }]
        : [{ opacity: 0 }, { opacity: 1 }];
      item.animate(frames, { duration: 450, easing: "ease-out" });
    }
  }

  // Change a fact

  const named = { x: "from the left", depth: "from far to near", name: "what" };
  const factName = (fact, facts) => {
    if (fact.length === 1) return fact[0];
    const thing = facts.find((f) => f[0] === fact[0] && f[1] === "name")[2];
    return `${thing}: ${named[fact[1]] ?? fact[1]}`;
  };

  function changer(box) {
    const data = window.explorerData.scenes, size = data.size;
    let which = Math.floor(data.scenes.length / 2), at = 0, last = null;  // the scene of middle rank; as it is
    const scenes = make("div", { className: "scenes", aria: { role: "group", label: "Scene" } });
    const facts = make("div", { className: "facts" }), large = make("div", { className: "large" });
    const said = make("p", { className: "said" }), status = make("p", { className: "status", aria: { role: "status" } });
    const captions = make("ol", { className: "near" }), found = make("ol", { className: "near pictures" });
    const undo = make("button", { type: "button", textContent: "Undo the change" });
    undo.addEventListener("click", () => { at = 0; show(); facts.querySelector("select").focus(); });
    const ranks = make("div", { className: "ranks" });
    box.append(
      make("p", {}, `A scene of ${data.captions.length} that no map was fitted to. Change one fact: the image and its caption change, and so does what is found. `
        + `The map from ${short(data.networks[0])} to ${short(data.networks[1])}, and back, was fitted to ${data.fitted} other scenes.`),
      scenes,
      make("div", { className: "bench" },
        make("div", {}, large, said, undo), make("div", {}, facts, status)),
      ranks,
      make("div", { className: "both" },
        make("div", {}, make("h3", { textContent: "Captions nearest to the image" }), captions),
        make("div", {}, make("h3", { textContent: "Scenes nearest to the caption" }), found)));
    data.scenes.forEach((scene, k) => {
      const button = make("button", { type: "button", aria: { pressed: "false" } }, picture(`scene-${k}`, 0, size, `Scene ${k + 1}: ${scene.own[0]}`));
      button.addEventListener("click", () => { which = k; at = 0; show(); });
      scenes.append(button);
    });

    function controls(scene) {
      const key = (fact) => JSON.stringify(fact.slice(0, -1)), options = new Map(scene.facts.map((fact) => [key(fact), []]));
      scene.changes.forEach((change, k) => { if (change) options.get(key(change)).push([String(k), String(change.at(-1))]); });
      facts.replaceChildren(...scene.facts.filter((fact) => options.get(key(fact)).length).map((fact) => {
        const isChanged = at > 0 && key(scene.changes[at]) === key(fact);
        const label = choice(factName(fact.slice(0, -1), scene.facts), [["0", `${plain(fact.at(-1))} (as it is)`], ...options.get(key(fact))],
          isChanged ? String(at) : "0", (value) => { last = key(fact); at = Number(value); show(); });
        label.dataset.key = key(fact);
        if (isChanged) label.className = "changed";
        return label;
      }));
      if (last) facts.querySelector(`[data-key='${CSS.escape(last)}'] select`)?.focus();
      last = null;
    }

    function show() {
      const scene = data.scenes[which], sheet = `scene-${which}`, change = scene.changes[at];
      [...scenes.children].forEach((button, k) => button.setAttribute("aria-pressed", String(k === which)));
      controls(scene);
      const shown = [picture(sheet, at, size, `The scene: ${scene.own[at]}`, 224)];
      if (at) shown.push(make("span", { className: "before" }, picture(sheet, 0, size, "Before the change", 64), "before"));
      large.className = at ? "large changed" : "large";
      large.replaceChildren(...shown);
      said.replaceChildren(...(at ? marked(scene.own[at], scene.own[0]) : [`“${scene.own[0]}”`]));
      undo.hidden = !at;
      const of = data.captions.length, [rank, near, cosines] = scene.captions[at], [rankScene, nearScenes, cosinesScenes] = scene.scenes[at];
      const was = (now, then) => (at && now !== then ? ` (was ${ordinal(then)})` : "");
      ranks.replaceChildren(
        make("p", {}, "Its own caption is found ", make("strong", { textContent: ordinal(rank) }), ` of ${of}${was(rank, scene.captions[0][0])}`),
        make("p", {}, "Its own image is found ", make("strong", { textContent: ordinal(rankScene) }), ` of ${of}${was(rankScene, scene.scenes[0][0])}`));
      const old = new Set(scene.captions[0][1]), oldScenes = new Set(scene.scenes[0][1]);
      renew(captions, near.map((i, k) => neighbour(i, cosines[k], at && !old.has(i), i === scene.position, i === scene.position ? scene.own[at] : data.captions[i],
        i === scene.position ? picture(sheet, at, size, "The scene itself", 48) : picture("gallery", i, size, "The scene that it describes", 48))));
      renew(found, nearScenes.map((i, k) => neighbour(i, cosinesScenes[k], at && !oldScenes.has(i), i === scene.position, i === scene.position ? scene.own[at] : data.captions[i],
        i === scene.position ? picture(sheet, at, size, "The scene itself", 72) : picture("gallery", i, size, data.captions[i], 72))));
      const [image, words] = scene.moved[at];
      status.textContent = at
        ? `${factName(change.slice(0, -1), scene.facts)} is now ${change.at(-1)}. The image moved by ${image.toFixed(2)} of the distance between two scenes, the caption by ${words.toFixed(2)}.`
        : "The scene as it is.";
    }
    show();
  }
  const plain = (value) => (typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : String(value));
  const short = (name) => name.replace(/.*\//, "");

  function neighbour(i, cosine, isNew, isOwn, caption, image) {
    const item = make("li", { data: { key: String(i) } });
    if (image) item.append(image);
    const text = make("span", {}, make("span", { className: "cosine", textContent: cosine.toFixed(2) }), ` ${caption}`);
    if (isOwn) text.append(make("b", { textContent: " ✓ its own" }));
    if (isNew) { item.className = "new"; text.append(make("em", { textContent: " new" })); }
    item.append(text);
    return item;
  }

  // Words that the other caption has not
  function marked(text, other) {
    const known = new Set(other.split(" "));
    return ["“", ...text.split(" ").flatMap((word, k) => [k ? " " : "", known.has(word) ? word : make("mark", { textContent: word })]), "”"];
  }

  // Type a caption

  const examples = ["two boats at night", "no boats in sight", "a red house in the snow", "one big dog on the beach"];

  function typing(box) {
    const field = make("input", { type: "text", autocomplete: "off", spellcheck: false, value: examples[0] });
    const go = make("button", { type: "submit", textContent: "Find scenes" });
    const form = make("form", { className: "typed" }, make("label", {}, make("span", { textContent: "Caption" }), field), go);
    const offered = make("p", { className: "offered" }, "Or: ");
    const status = make("p", { className: "status", aria: { role: "status" } }), found = make("ol", { className: "near pictures" });
    box.append(
      make("p", {}, "The language network reads your caption here, in this page; the map takes it to the vision network’s space, where the nearest of the "
        + `${window.explorerData.scenes.captions.length} images are looked up. Its weights (2.8 MB) are fetched once, when you first ask.`),
      form, offered, status, found);
    examples.slice(1).forEach((text) => {
      const button = make("button", { type: "button", textContent: text });
      button.addEventListener("click", () => { field.value = text; ask(); });
      offered.append(button, " ");
    });
    form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });

    async function ask() {
      found.replaceChildren();  // what an earlier caption found would be misread
      status.textContent = "Reading …";
      status.setAttribute("aria-busy", "true");
      await new Promise((resolve) => { setTimeout(resolve, 20); });  // lets the sign be drawn
      try {
        const network = await theReader(), words = network.readable(field.value);
        const { near, seconds } = network.look(words);
        const size = window.explorerData.scenes.size, captions = window.explorerData.scenes.captions;
        renew(found, near.map(([i, cosine]) => neighbour(i, cosine, false, false, captions[i], picture("gallery", i, size, captions[i], 72))));
        status.textContent = `“${words}”: the nearest ${near.length} of ${captions.length} scenes, each with its own caption, in ${seconds.toFixed(1)} s.`;
      } catch (error) {
        status.textContent = error.message;
      }
      status.removeAttribute("aria-busy");
    }
  }

  let reader;
  function theReader() {
    reader ??= fetchReader().catch((error) => { reader = undefined; throw error; });
    return reader;
  }

  async function fetchReader() {
    await Promise.all([load("llama.js"), load("captions.js")]);
    const { Llama, readHalves, times } = window.TinyLlama, data = window.explorerData.captions;
    let answer;
    try { answer = await fetch(`${root}llama.safetensors`); } catch { answer = {}; }
    if (!answer.ok) throw new Error("The network’s weights could not be fetched. From a file they cannot be: serve the folder, as by `python -m http.server`.");
    const llama = new Llama(await answer.arrayBuffer(), data.network);
    const weights = new Float32Array(bytes(data.weights)), offset = new Float32Array(bytes(data.offset));
    const seen = readHalves(bytes(data.seen)), width = offset.length, words = new Set(data.words);

    // As the library does: what is not a word of the microworld is refused, with words that are near.
    function readable(typed) {
      if (!typed.trim()) throw new Error("The caption is empty: type a few words, such as “two boats at night”.");
      const split = (text) => text.split(/\s+/).filter(Boolean), lacking = (text) => split(text).filter((word) => !words.has(word));
      if (!lacking(typed).length) return split(typed).join(" ");
      const plain = split(typed.toLowerCase().replace(/([.,;:!?])/g, " $1 ")).filter((word) => /[\p{L}\p{N}_]/u.test(word) || words.has(word));
      const missing = [...new Set(plain.filter((word) => !words.has(word)))];
      if (plain.length && !missing.length) return plain.join(" ");
      const near = (word) => {
        const close = data.words.map((other) => [alike(word, other), other]).filter(([share]) => share >= 0.6).sort((a, b) => b[0] - a[0]);
        return close.length ? ` (perhaps ${close.slice(0, 2).map(([, other]) => other).join(" or ")})` : "";
      };
      throw new Error(`The network does not know ${missing.map((word) => `“${word}”${near(word)}`).join(", ") || "any of it"}: it was trained on a small vocabulary; choose other words.`);
    }

    function look(caption, k = 6) {
      const start = performance.now(), mapped = times(weights, llama.read(caption)).map((value, i) => value + offset[i]);
      const length = (x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0)), own = length(mapped);
      const near = Array.from({ length: seen.length / width }, (_, i) => {
        const row = seen.subarray(i * width, (i + 1) * width);
        return [i, row.reduce((sum, value, j) => sum + value * mapped[j], 0) / (length(row) * own)];
      }).sort((a, b) => b[1] - a[1]);
      return { near: near.slice(0, k), all: near, mapped, seconds: (performance.now() - start) / 1000 };
    }
    return { readable, look, llama };
  }

  function alike(a, b) {  // twice the letters of the longest common subsequence, as a share of all letters
    let row = new Array(b.length + 1).fill(0);
    for (const letter of a) {
      const next = [0];
      for (let j = 0; j < b.length; j++) next.push(letter === b[j] ? row[j] + 1 : Math.max(row[j + 1], next[j]));
      row = next;
    }
    return (2 * row[b.length]) / (a.length + b.length);
  }

  // Choose a pair of layers

  const shades = [[0, 34, 78], [67, 78, 108], [125, 124, 120], [188, 175, 111], [254, 232, 56]];  // cividis
  function shade(share) {
    const x = Math.min(Math.max(share, 0), 1) * (shades.length - 1), k = Math.min(Math.floor(x), shades.length - 2);
    return `rgb(${shades[k].map((c, i) => Math.round(c + (shades[k + 1][i] - c) * (x - k))).join(",")})`;
  }

  function pairs(box) {
    const data = window.explorerData.layers, [nv, nl] = data.layers, cells = nv * nl;
    const scores = window.TinyLlama.readHalves(bytes(data.scores)), dots = new Uint8Array(bytes(data.scatter));
    const names = { v2l: "vision predicts language", l2v: "language predicts vision" };
    const chosen = { direction: data.directions[0], vision: data.vision[0], language: data.language[0] };
    const grid = make("div", { className: "grid", aria: { role: "grid", label: "Scores of all pairs of layers" } });
    grid.style.setProperty("--layers", nl);
    const readout = make("div", { className: "readout", aria: { live: "polite" } }), canvas = make("canvas", { width: 240, height: 240 });
    canvas.setAttribute("role", "img");
    const pick = (name, label, options) => choice(label, options, chosen[name], (value) => { chosen[name] = value; draw(); });
    let here = null;
    box.append(
      make("p", {}, `Each square is a pair of layers: how well one predicts the other, on held-out stimuli (n = ${data.n}, captions pooled by mean). Point at a square, or move with the arrow keys.`),
      make("div", { className: "facts" }, pick("direction", "direction", data.directions.map((d) => [d, names[d]])),
        pick("vision", "vision", data.vision.map((n) => [n, short(n)])), pick("language", "language", data.language.map((n) => [n, short(n)]))),
      make("div", { className: "map" },
        make("div", {}, make("p", { className: "axis", textContent: "↑ vision layer" }), grid, make("p", { className: "axis right", textContent: "language layer →" })),
        make("div", {}, readout, canvas, make("p", { className: "axis", textContent: `across: predicted, up: observed (z, to ±${data.largest}); darker: more responses, on a log scale` }))));

    const index = (v, l) => ((data.directions.indexOf(chosen.direction) * data.vision.length + data.vision.indexOf(chosen.vision)) * data.language.length
      + data.language.indexOf(chosen.language)) * cells + v * nl + l;
    const score = (v, l) => [...scores.subarray(3 * index(v, l), 3 * index(v, l) + 3)];
    const written = ([value, low, high]) => `r = ${value.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`.replaceAll("-", "−");

    function draw() {
      const all = Array.from({ length: cells }, (_, k) => score(Math.floor(k / nl), k % nl)[0]), best = Math.max(...all.filter(Number.isFinite));
      here ??= (() => { const k = all.indexOf(best); return [Math.floor(k / nl), k % nl]; })();
      const hadFocus = grid.contains(document.activeElement);
      const rows = Array.from({ length: nv }, (_, k) => nv - 1 - k).map((v) => make("div", { className: "row", aria: { role: "row" } },
        make("span", { textContent: v, aria: { role: "rowheader", label: `vision layer ${v}` } }),
        ...Array.from({ length: nl }, (_, l) => {
          const numbers = score(v, l), isScore = Number.isFinite(numbers[0]);
          const cell = make("button", { type: "button", tabIndex: -1, data: { v, l },
            aria: { role: "gridcell", label: `vision ${v}, language ${l}: ${isScore ? numbers[0].toFixed(3) : "no score"}` } });
          if (isScore) cell.style.background = shade(numbers[0] / best);
          else cell.className = "empty";
          if (numbers[0] === best) cell.classList.add("best");
          return cell;
        })));
      const foot = make("div", { className: "row foot", aria: { role: "row" } }, make("span", { aria: { role: "columnheader", label: "vision layer" } }),
        ...Array.from({ length: nl }, (_, l) => make("span", { textContent: l, aria: { role: "columnheader", label: `language layer ${l}` } })));
      grid.replaceChildren(...rows, foot);
      select(...here, hadFocus);
    }

    function select(v, l, focus) {
      here = [v, l];
      for (const cell of grid.querySelectorAll("button")) {
        const isHere = Number(cell.dataset.v) === v && Number(cell.dataset.l) === l;
        cell.tabIndex = isHere ? 0 : -1;
        cell.setAttribute("aria-selected", String(isHere));
        if (isHere && focus) cell.focus();
      }
      const numbers = score(v, l), isScore = Number.isFinite(numbers[0]);
      readout.replaceChildren(make("strong", { textContent: `vision ${v}, language ${l}` }), make("br"),
        isScore ? `${written(numbers)}, 95 % interval` : "no score: units of this layer are the same for every stimulus");
      plot(v, l, isScore);
    }

    function plot(v, l, isScore) {
      const pen = canvas.getContext("2d"), n = data.bins, side = canvas.width / n, start = (index(v, l) * n * n) / 2;
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      canvas.setAttribute("aria-label", isScore ? `Observed against predicted responses of vision layer ${v} and language layer ${l}` : "Nothing to show");
      if (!isScore) return;
      for (let k = 0; k < n * n; k++) {
        const pair = dots[start + (k >> 1)], level = k % 2 ? pair & 15 : pair >> 4;
        if (!level) continue;
        pen.fillStyle = `rgba(0, 62, 120, ${level / data.levels})`;
        pen.fillRect((k % n) * side, (n - 1 - Math.floor(k / n)) * side, side, side);
      }
      pen.strokeStyle = "#b3541e";
      pen.beginPath();
      pen.moveTo(0, canvas.height);
      pen.lineTo(canvas.width, 0);
      pen.stroke();
    }

    const at = (event) => event.target.closest?.("button[data-v]");
    for (const kind of ["pointerover", "click"]) {
      grid.addEventListener(kind, (event) => { const cell = at(event); if (cell) select(Number(cell.dataset.v), Number(cell.dataset.l), kind === "click"); });
    }
    grid.addEventListener("keydown", (event) => {
      const [dv, dl] = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [];
      if (dv === undefined) return;
      event.preventDefault();
      select(Math.min(Math.max(here[0] + dv, 0), nv - 1), Math.min(Math.max(here[1] + dl, 0), nl - 1), true);
    });
    draw();
  }

  // What a page asks for: <div class="explorer" data-parts="scenes captions layers">
  const parts = {
    scenes: { title: "Change a fact", needs: ["scenes.js"], fill: changer },
    captions: { title: "Type a caption", needs: ["scenes.js"], fill: typing },
    layers: { title: "Choose a pair of layers", needs: ["llama.js", "layers.js"], fill: pairs },
  };
  const loaded = {};
  async function start() {
    for (const place of document.querySelectorAll(".explorer")) {
      const asked = place.dataset.parts.split(" ");
      place.replaceChildren();
      for (const name of asked) {
        const { title, needs, fill } = parts[name], box = make("section", { className: `part part-${name}`, aria: { label: title } });
        if (asked.length > 1) box.append(make("h3", { textContent: title }));
        place.append(box);
        try {
          await Promise.all(needs.map((file) => (loaded[file] ??= load(file))));
          fill(box);
        } catch (error) { box.append(make("p", { textContent: error.message })); }
      }
    }
    document.documentElement.dataset.explorer = "ready";
  }
  window.explorer = { theReader };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
