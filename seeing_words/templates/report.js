"use strict";
(() => {
  const root = document.documentElement, find = id => document.getElementById(id);
  const viewer = find("viewer"), stage = viewer.querySelector(".stage"), picture = stage.querySelector("img");
  const still = { animate: false };
  let view = null;
  root.classList.add("js");

  function zoom(figure) {
    const shown = figure.querySelector("img");
    picture.src = shown.src;
    picture.alt = shown.alt;
    find("viewer-title").textContent = `${figure.id} · ${figure.querySelector(".stamp").textContent}`;
    viewer.showModal();
    view = Panzoom(picture, { maxScale: 20, minScale: 1, step: 0.25, ...still });
    stage.focus();
  }

  const keys = {
    "+": () => view.zoomIn(still), "=": () => view.zoomIn(still), "-": () => view.zoomOut(still), "0": () => view.reset(still),
    ArrowLeft: () => move(1, 0), ArrowRight: () => move(-1, 0), ArrowUp: () => move(0, 1), ArrowDown: () => move(0, -1),
  };
  const move = (x, y) => view.pan(60 * x / view.getScale(), 60 * y / view.getScale(), { relative: true });

  find("larger").addEventListener("click", keys["+"]);
  find("smaller").addEventListener("click", keys["-"]);
  find("whole").addEventListener("click", keys["0"]);
  find("close").addEventListener("click", () => viewer.close());
  stage.addEventListener("wheel", event => view.zoomWithWheel(event), { passive: false });
  viewer.addEventListener("close", () => view.destroy());
  viewer.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });

  async function copy(button) {
    const before = button.firstChild.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.text);
      button.firstChild.textContent = "Copied";
    } catch {  // not allowed here: select it, so that one key does the rest
      getSelection().selectAllChildren(button.parentNode.querySelector("code"));
      button.firstChild.textContent = "Selected";
    }
    setTimeout(() => { button.firstChild.textContent = before; }, 1500);
  }

  document.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button?.classList.contains("copy")) copy(button);
    else if (button?.classList.contains("zoom") || event.target.matches(".paper img")) zoom(event.target.closest("figure"));
  });

  // on paper nothing can be opened: provenance is printed, long tables stay in their files
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll(".preset:not([open]), .provenance:not([open]), #provenance details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
})();
