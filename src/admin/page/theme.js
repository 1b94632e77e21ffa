// The theme: light, dark, or what the system says. Runs before the first paint, so that nothing flashes.
"use strict";
(() => {
  const KEY = "portcullis-theme";
  const NEXT = { system: "light", light: "dark", dark: "system" };
  const stored = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  let theme = stored() in NEXT ? stored() : "system";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" }[theme];
  };
  const next = () => {
    theme = NEXT[theme];
    try { localStorage.setItem(KEY, theme); } catch { /* a browser that stores nothing forgets it */ }
    show();
  };
  show();
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", next);
  });
})();
