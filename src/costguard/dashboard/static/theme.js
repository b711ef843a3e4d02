// Runs before anything is drawn, so that a chosen theme does not flash in the other one first.
"use strict";
(() => {
  const root = document.documentElement;
  const kept = () => {
    try { return localStorage.getItem("costguard-theme"); } catch { return null; }
  };
  const chosen = kept();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  root.classList.add("js");

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const say = () => {
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.setAttribute("aria-pressed", String(now() === "dark"));
    }
  };
  const told = () => { say(); document.dispatchEvent(new Event("costguard:theme")); };

  document.addEventListener("DOMContentLoaded", say);
  dark.addEventListener("change", told);
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("[data-theme-switch]");
    if (!button) return;
    const next = now() === "dark" ? "light" : "dark";
    // What the system would show anyway is not kept: it may change with the hour.
    if (next === (dark.matches ? "dark" : "light")) delete root.dataset.theme; else root.dataset.theme = next;
    try {
      if (root.dataset.theme) localStorage.setItem("costguard-theme", next);
      else localStorage.removeItem("costguard-theme");
    } catch { /* A browser that keeps nothing still switches. */ }
    told();
  });
})();
