// What pages do beyond links: theme, menu, search, copying code, and a mark at the part being read.
// Without this script every page still reads and every link works.
(() => {
  "use strict";
  const script = document.currentScript, root = script.dataset.root, html = document.documentElement;
  html.classList.add("js");

  // Theme: the reader's choice if there is one, else the system's. Set before the page is drawn.
  const memory = {  // pages opened as files may have none
    get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
    set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* kept for this page only */ } },
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (html.dataset.theme ? html.dataset.theme === "dark" : system.matches);
  if (memory.get("theme")) html.dataset.theme = memory.get("theme");

  function theme() {
    const button = document.querySelector(".theme");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      html.dataset.theme = isDark() ? "light" : "dark";
      memory.set("theme", html.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    show();
  }

  function menu() {
    const button = document.querySelector(".menu"), sidebar = document.getElementById("all-pages");
    const open = (yes) => {
      sidebar.classList.toggle("open", yes);
      button.setAttribute("aria-expanded", String(yes));
    };
    button.addEventListener("click", () => open(!sidebar.classList.contains("open")));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !sidebar.classList.contains("open")) return;
      open(false);
      button.focus();
    });
    const here = sidebar.querySelector("[aria-current]");
    if (here) sidebar.scrollTop = here.offsetTop - sidebar.clientHeight / 2;
  }

  // Search: the library and the records are fetched when they are first asked for, as scripts, which works from files too.
  const load = (name) => new Promise((resolve, reject) => {
    const tag = Object.assign(document.createElement("script"), { src: root + name, onload: resolve, onerror: reject });
    document.head.append(tag);
  });
  let index;
  const words = new Set();  // of all pages: a word that is known is not taken for another one
  async function makeIndex() {
    await Promise.all([load("minisearch.js"), load("search.js")]);
    const made = new MiniSearch({ fields: ["title", "page", "text"], storeFields: ["title", "page", "text"] });
    made.addAll(window.searchRecords);
    for (const { title, page, text } of window.searchRecords) {
      for (const word of `${title} ${page} ${text}`.toLowerCase().split(/[^\p{L}\p{N}]+/u)) words.add(word);
    }
    return made;
  }
  const same = {  // what readers call what these pages call otherwise
    alpha: ["penalty"], bibtex: ["cite"], ci: ["interval"], citation: ["cite"], confidence: ["interval"], error: ["interval"], figure: ["figures"],
    installation: ["install"], lambda: ["penalty"], pip: ["install"], regression: ["ridge"], reproduce: ["figures"], reproducibility: ["figures"],
    setup: ["install"], significance: ["null"], variables: ["parameters"],
  };
  const options = {
    boost: { title: 4, page: 2 }, prefix: true, fuzzy: (term) => (term.length > 4 && !words.has(term) ? 0.2 : 0), combineWith: "AND",
    boostDocument: (id) => (id.startsWith("docs/") ? 2 : /^(library|train)\//.test(id) ? 0.8 : 1.2),  // guides before reference
  };
  const asked = (query) => ({  // each word, or what it is called here
    combineWith: "AND",
    queries: query.toLowerCase().split(/\s+/).filter(Boolean).map((word) => ({ combineWith: "OR", queries: [word, ...(same[word] ?? [])] })),
  });

  function extract(text, terms) {  // the words around the first that was found
    const at = Math.max(0, Math.min(...terms.map((t) => text.toLowerCase().indexOf(t)).filter((i) => i >= 0), text.length) - 60);
    const whole = (at ? text.slice(at).replace(/^\S*\s/, "") : text);
    return (at ? "… " : "") + whole.slice(0, 160) + (whole.length > 160 ? " …" : "");
  }

  function item(found) {
    const link = Object.assign(document.createElement("a"), { href: root + found.id });
    const title = Object.assign(document.createElement("strong"), { textContent: found.title });
    const page = Object.assign(document.createElement("span"), { textContent: found.title === found.page ? "" : found.page });
    const words = Object.assign(document.createElement("small"), { textContent: extract(found.text, found.terms) });
    link.append(title, " ", page, words);
    const row = document.createElement("li");
    row.append(link);
    return row;
  }

  function search() {
    const dialog = document.querySelector(".search"), input = dialog.querySelector("input");
    const results = dialog.querySelector(".results"), status = dialog.querySelector(".status");
    const open = () => {
      dialog.showModal();
      input.select();
      index ??= makeIndex();
    };
    const show = async () => {
      const query = input.value, found = query.trim() ? (await index).search(asked(query), options) : [];
      if (query !== input.value) return;  // the reader typed on
      results.replaceChildren(...found.slice(0, 20).map(item));
      status.textContent = query.trim() ? `${found.length} ${found.length === 1 ? "place" : "places"}` : "";
    };
    document.querySelector(".find").addEventListener("click", open);
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || dialog.open || event.target.closest("input, textarea, select")) return;
      event.preventDefault();
      open();
    });
    input.addEventListener("input", show);
    dialog.addEventListener("keydown", (event) => {
      const stops = [input, ...results.querySelectorAll("a")], at = stops.indexOf(document.activeElement);
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") {  // which in a search box would only empty it
        event.preventDefault();
        dialog.close();
      } else if (event.key === "Enter" && at === 0) {
        event.preventDefault();
        if (stops[1]) { dialog.close(); stops[1].click(); }
      } else if (step && stops[at + step]) {
        event.preventDefault();
        stops[at + step].focus();
      }
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest("a")) dialog.close(); });
  }

  function copying() {
    for (const code of document.querySelectorAll(".code")) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "Copy" });
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(code.querySelector("pre").textContent.trimEnd());
          button.textContent = "Copied";
        } catch { button.textContent = "Not allowed here"; }
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      code.append(button);
    }
  }

  // What is too wide scrolls in its own box, which the keyboard must reach; what is not takes no stop.
  function boxes() {
    const names = { TABLE: "Table", PRE: "Code or output", SPAN: "Formula" };
    const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => {
      if (target.scrollWidth > target.clientWidth) {
        target.tabIndex = 0;
        target.setAttribute("role", "group");
        target.setAttribute("aria-label", `${names[(target.querySelector("table") ?? target).tagName]}, scrolls sideways`);
      } else ["tabindex", "role", "aria-label"].forEach((name) => target.removeAttribute(name));
    }));
    document.querySelectorAll(".table, main pre, .formula").forEach((box) => watch.observe(box));
  }

  function reading() {
    const links = new Map([...document.querySelectorAll(".outline.wide a")].map((a) => [decodeURIComponent(a.hash.slice(1)), a]));
    if (!links.size) return;
    const heads = [...links.keys()].map((id) => document.getElementById(id));
    const isSeen = (head) => head.getClientRects().length > 0;  // not within what is folded
    const mark = () => {
      const passed = heads.filter((head) => isSeen(head) && head.getBoundingClientRect().top < 120).pop();
      for (const [id, link] of links) link.classList.toggle("here", id === passed?.id);
    };
    let asked = false;
    addEventListener("scroll", () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; mark(); });
    }, { passive: true });
    mark();
  }

  document.addEventListener("DOMContentLoaded", () => [theme, menu, search, copying, boxes, reading].forEach((start) => start()));
})();
