// Runs before the first paint, so that a chosen theme and language never flash the other one.
(() => {
  const root = document.documentElement;
  let stored = { theme: null, lang: null };
  try {
    stored = { theme: localStorage.getItem("console.theme"), lang: localStorage.getItem("console.lang") };
  } catch {
    // Storage may be forbidden: the defaults serve.
  }
  if (stored.theme === "light" || stored.theme === "dark") {
    root.dataset.theme = stored.theme;
  }
  const asked = new URLSearchParams(location.search).get("lang") ?? stored.lang;
  root.lang = asked === "en" ? "en" : "vi";
})();
