// Tables are sorted by a click on a heading.
const units = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
const key = (row, column) => row.cells[column].textContent.trim();
const number = text => {
  const [, digits, unit] = text.replaceAll(",", "").replace("−", "-").match(/^([+-]?[\d.]+)(?:\s([kMGT])\b)?/) ?? [];
  return parseFloat(digits) * (units[unit] ?? 1);
};
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement, body = header.closest("table").tBodies[0], column = header.cellIndex;
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of header.parentElement.cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...body.rows].sort((left, right) => {
      const [a, b] = [key(left, column), key(right, column)];
      if (a === "–" || b === "–") return (a === "–") - (b === "–");
      const difference = number(a) - number(b);
      return sign * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
    });
    body.append(...rows);
  });
}
// What a link leads to is unfolded, and on paper everything is.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target?.closest("details:not([open])");
  if (folded) {
    folded.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", unfold);
unfold();
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const folded of opened) folded.open = true;
});
addEventListener("afterprint", () => {
  for (const folded of opened) folded.open = false;
});
// Figures are saved in ink of their own, since that of the page does not come along.
for (const link of document.querySelectorAll("a.svg")) {
  const drawing = link.closest("figure").querySelector("svg").cloneNode(true);
  drawing.setAttribute("color", "#1d2126");
  link.href = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(drawing));
  link.hidden = false;
}
