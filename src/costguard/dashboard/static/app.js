// What every page has: bars of a given width, menus, dialogs, keys, and news without reloading.
// All of it is extra: without this script each page is complete, and each state has its own address.
"use strict";
(() => {
  const every = (selector, within = document) => Array.from(within.querySelectorAll(selector));

  // The policy of the page allows no style in its text, so that a bar says its width in an attribute.
  const fit = (within) => {
    for (const bar of every("[data-width]", within)) bar.style.width = `${bar.dataset.width}%`;
  };

  // Menus close with Escape, and when something else is clicked or reached.
  const closeMenus = (except) => {
    for (const menu of every("details.menu[open]")) if (menu !== except) menu.open = false;
  };
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) {
      const dialog = document.getElementById(opener.dataset.opens);
      if (dialog && dialog.showModal) { event.preventDefault(); dialog.showModal(); }
    }
    const closer = event.target.closest("[data-closes]");
    if (closer && closer.closest("dialog")) { event.preventDefault(); closer.closest("dialog").close(); }
    closeMenus(event.target.closest("details.menu"));
  });
  document.addEventListener("focusin", (event) => closeMenus(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const menu = event.target.closest && event.target.closest("details.menu[open]");
      closeMenus(null);
      if (menu) menu.querySelector("summary").focus();
    }
    const typing = event.target.closest && event.target.closest("input, select, textarea, dialog");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const field = document.querySelector("[data-search]");
      if (field) { event.preventDefault(); field.focus(); field.select(); }
    }
  });
  // Once is enough: a second click on a slow line would send a form twice.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => { for (const form of every("form[data-sent]")) delete form.dataset.sent; });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copies]");
    if (!button || !navigator.clipboard) return;
    try { await navigator.clipboard.writeText(button.dataset.copies); tell("Copied"); } catch { /* not allowed */ }
  });

  const tell = (text) => {
    const news = document.getElementById("news");
    if (news && news.textContent !== text) news.textContent = text;
  };

  // News: a small question every few seconds; where the answer changed, this page is asked for again, and its
  // regions are exchanged one by one.
  const EVERY = 5000, SLOWEST = 60000;
  const root = document.documentElement.dataset.root || "./";
  const state = document.getElementById("live-state");
  let mark = null, wait = EVERY, timer = 0, stopped = false;

  const show = (name, text) => {
    if (!state) return;
    state.dataset.state = name;
    state.querySelector("[data-live-text]").textContent = text;
  };

  const busy = (region) => {
    const selection = getSelection();
    return region.querySelector("details.menu[open], dialog[open]") !== null
      || (selection && !selection.isCollapsed && region.contains(selection.anchorNode))
      || region.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
  };

  const exchange = (region, fresh) => {
    const focusable = "a[href], button, summary";
    const place = every(focusable, region).indexOf(document.activeElement);
    const open = every("details", region).map((each) => each.open);
    region.replaceChildren(...Array.from(fresh.childNodes, (node) => document.importNode(node, true)));
    every("details", region).forEach((each, at) => { if (open[at]) each.open = true; });
    fit(region);
    if (place >= 0) { const again = every(focusable, region)[place]; if (again) again.focus(); }
  };

  const renew = async () => {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    let changed = false, waiting = false;
    for (const region of every("[data-live][id]")) {
      const fresh = page.getElementById(region.id);
      if (!fresh || fresh.innerHTML === region.dataset.was) continue;
      if (busy(region)) { waiting = true; continue; }
      region.dataset.was = fresh.innerHTML;
      exchange(region, fresh);
      changed = true;
    }
    if (changed) {
      document.dispatchEvent(new Event("costguard:news"));
      const spoken = document.querySelector("[data-spoken]");
      if (spoken) tell(spoken.dataset.spoken);
    }
    return !waiting;
  };

  const ask = async () => {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    try {
      const headers = mark ? { "if-none-match": mark } : {};
      // Not followed: a page to sign in at would be taken for news, and one of another origin for a store that is away.
      const asked = { headers, credentials: "same-origin", cache: "no-store", redirect: "manual" };
      const answer = await fetch(`${root}api/pulse`, asked);
      if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
        stopped = true;
        show("off", "Signed out");
        return;
      }
      if (answer.status !== 304 && !answer.ok) throw new Error(String(answer.status));
      const now = answer.status === 304 ? mark : answer.headers.get("etag") || await answer.text();
      if (mark === null || now === mark || await renew()) mark = now;
      wait = EVERY;
      show("on", "Live");
    } catch {
      wait = Math.min(wait * 2, SLOWEST);
      show("away", "Store is away");
    }
    timer = setTimeout(ask, wait);
  };

  const begin = () => {
    fit(document);
    const regions = every("[data-live][id]");
    for (const region of regions) region.dataset.was = "";
    if (!regions.length) { if (state) state.hidden = true; return; }
    document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
    document.addEventListener("costguard:ask", ask);
    ask();
  };
  begin();
})();
