// For the pages of both renderers: folded sections, larger figures, sorted tables, copied commands.
// Without this script everything still reads: sections fold by themselves or stand open, figures are links.
(() => {
  "use strict";
  const make = (tag, about, ...inside) => {
    const made = Object.assign(document.createElement(tag), about);
    made.append(...inside);
    return made;
  };

  // Quarto keeps a section whole, so it is folded here; pages.py has folded it already.
  function fold() {
    for (const section of document.querySelectorAll("section.level2.folded")) {
      const summary = make("summary", {}, section.querySelector("h2"));
      const details = make("details", { className: "section" }, summary, ...section.childNodes);
      section.replaceChildren(details);
    }
    const all = [...document.querySelectorAll("details.section")];
    const arrive = () => {
      const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      const inner = target?.querySelector(":scope > details.section") ?? target?.closest("details");  // Quarto's sections have the id
      if (!inner) return;
      for (let box = inner; box; box = box.parentElement.closest("details")) box.open = true;
      target.scrollIntoView();
    };
    addEventListener("hashchange", arrive);
    addEventListener("beforeprint", () => all.forEach((details) => { details.open = true; }));
    // a link to where the reader is already changes no hash
    document.addEventListener("click", (event) => {
      const link = event.target.closest?.('a[href^="#"]');
      if (link && link.hash === location.hash) arrive();
    });
    arrive();
    if (!all.length) return;
    const button = make("button", { type: "button" });
    const label = () => { button.textContent = all.every((d) => d.open) ? "Close all sections" : "Open all sections"; };
    button.addEventListener("click", () => {
      const shut = !all.every((d) => d.open);
      all.forEach((details) => { details.open = shut; });
    });
    all.forEach((details) => details.addEventListener("toggle", label));
    label();
    const ways = document.querySelector(".answer .ways");
    if (ways) ways.append(button);
    else all[0].before(make("p", { className: "ways unfold" }, button));
  }

  // A figure opens over the page, as wide as the window, and larger when asked.
  function zoom() {
    const isPicture = /\.(svg|png|webp|jpe?g)$/;
    const links = [...document.querySelectorAll("main a[href]")].filter((a) => isPicture.test(a.pathname) && a.querySelector("img"));
    if (!links.length || !window.HTMLDialogElement) return;
    const image = make("img", {}), room = make("section", { tabIndex: 0 }, image);
    room.setAttribute("aria-label", "Figure, scrolls");
    let scale = 1;
    const show = () => {
      const { clientWidth, clientHeight } = room, shape = (image.naturalHeight || 1) / (image.naturalWidth || 1);
      const fit = Math.min(clientWidth, clientHeight / shape), x = room.scrollLeft + clientWidth / 2, y = room.scrollTop + clientHeight / 2;
      const before = image.width || fit, width = Math.round(fit * scale);
      image.style.width = `${width}px`;
      room.scrollTo((x * width) / before - clientWidth / 2, (y * width) / before - clientHeight / 2);
    };
    const by = (factor) => { scale = Math.min(8, Math.max(1, scale * factor)); show(); };
    const act = (text, what) => {
      const button = make("button", { type: "button", textContent: text });
      button.addEventListener("click", what);
      return button;
    };
    const file = make("a", { textContent: "Open the file" });
    const close = act("Close", () => dialog.close());
    const dialog = make("dialog", { className: "zoom" },
      make("div", {}, act("Larger", () => by(1.5)), act("Smaller", () => by(1 / 1.5)), file, close), room);
    dialog.setAttribute("aria-label", "Figure");
    image.addEventListener("load", show);
    image.addEventListener("click", () => by(scale >= 4 ? 1 / scale : 2));
    dialog.addEventListener("keydown", (event) => {
      const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
      if (factor) by(factor);
    });
    addEventListener("resize", () => { if (dialog.open) show(); });
    document.body.append(dialog);
    for (const link of links) {
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
        event.preventDefault();
        scale = 1;
        const inside = link.querySelector("img");
        image.alt = inside.alt;
        file.href = link.href;
        dialog.showModal();
        image.src = link.href;
        if (image.complete) show();
        close.focus();
      });
    }
  }

  // Tables: by number where a column has numbers, else by words; a third click restores the order.
  function number(cell) {
    const text = (cell.dataset.sort ?? cell.textContent).trim().replace(/−/g, "-").replace(/,(?=\d{3})/g, "");
    const found = text.match(/^[<>≈~=✓✗○–\s]*(-?\d*\.?\d+(?:e[-+]?\d+)?)/i);
    return found ? Number(found[1]) : NaN;
  }
  function sorting() {
    for (const table of document.querySelectorAll("main table")) {
      const heads = table.tHead?.rows, body = table.tBodies[0];
      if (heads?.length !== 1 || table.tBodies.length !== 1 || body.rows.length < 3) continue;
      const rows = [...body.rows], cells = [...heads[0].cells];
      if (rows.some((row) => row.cells.length !== cells.length || [...row.cells].some((c) => c.rowSpan > 1))) continue;
      cells.forEach((head, k) => {
        if (head.tagName !== "TH" || !head.textContent.trim()) return;
        const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
        head.append(button);
        button.addEventListener("click", () => {
          const next = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] ?? "ascending";
          cells.forEach((other) => other.removeAttribute("aria-sort"));
          if (next !== "none") head.setAttribute("aria-sort", next);
          const values = new Map(rows.map((row) => [row, number(row.cells[k])]));
          const isNumber = rows.filter((row) => !Number.isNaN(values.get(row))).length * 2 > rows.length;
          const of = (row) => row.cells[k].textContent.trim();
          const ordered = next === "none" ? rows : [...rows].sort((a, b) => {
            const [x, y] = [values.get(a), values.get(b)], sign = next === "ascending" ? 1 : -1;
            if (!isNumber) return sign * of(a).localeCompare(of(b), "en", { numeric: true });
            if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);  // the empty ones last
            return sign * (x - y);
          });
          body.append(...ordered);
        });
      });
    }
  }

  // The table of claims can show one verdict only.
  function filters() {
    for (const table of document.querySelectorAll("table.claims")) {
      const rows = [...table.tBodies[0].rows];
      const verdicts = [...new Set(rows.flatMap((row) => row.dataset.verdicts.split(";")))];
      const choice = make("select", {}, make("option", { value: "", textContent: "all" }),
        ...verdicts.map((verdict) => make("option", { value: verdict, textContent: verdict })));
      const count = make("span", {});
      count.setAttribute("role", "status");
      choice.addEventListener("change", () => {
        rows.forEach((row) => { row.hidden = choice.value !== "" && !row.dataset.verdicts.split(";").includes(choice.value); });
        count.textContent = ` ${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
      });
      (table.closest(".table") ?? table).before(make("p", { className: "filter" }, make("label", {}, "Verdict ", choice), count));
    }
  }

  function commands() {
    for (const command of document.querySelectorAll(".command")) {
      const text = command.querySelector("code").textContent;
      const button = make("button", { type: "button", textContent: "Copy command" });
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(text);
          button.textContent = "Copied";
        } catch { button.textContent = "Not allowed here"; }
        setTimeout(() => { button.textContent = "Copy command"; }, 1500);
      });
      command.prepend(button);
    }
  }

  const start = () => [fold, zoom, sorting, filters, commands].forEach((part) => part());
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
