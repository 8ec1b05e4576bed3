// Begins: the colours, the table at once, the curves when they are unpacked.

const themeListeners = [];
const onTheme = (listener) => themeListeners.push(listener);

function chooseTheme(theme) {
  if (theme === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", theme);
  for (const button of document.querySelectorAll(".theme button")) {
    button.setAttribute("aria-pressed", String(button.getAttribute("data-theme") === theme));
  }
  themeListeners.forEach((listener) => listener());
}

for (const button of document.querySelectorAll(".theme button")) {
  button.addEventListener("click", () => chooseTheme(button.getAttribute("data-theme")));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => themeListeners.forEach((listener) => listener()));

document.documentElement.classList.add("scripted");
const unpacked = unpack();
shown.add(rows.map((_, row) => row).slice(0, FIRST_SHOWN));
startTable();
ticks();
document.documentElement.dataset.table = String(Math.round(performance.now()));
startCurves().then(() => {
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
});
